import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

extension ServerTests {
    /// Removal in spite of the tenant, and never at the cost of others. Issue 11, point 2.
    @Suite(.timeLimit(.minutes(40))) struct TenantRemovalTests {
        @Test("C3a: a tenant that holds its own login in an open transaction can't hang its removal")
        func anOpenChangeOfItsOwnLoginHoldsNothingUp() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin(patience: .seconds(30)) { admin in
                let credentials = try await admin.createTenant(TenantConfig(name: name))
                let hostile = try await PostgresConnection.connect(
                    PostgresConfiguration(credentials.connectionString))
                try await hostile.script("BEGIN; ALTER ROLE \(credentials.username) PASSWORD 'x'")
                let report = try await admin.removeTenant(named: name)
                #expect(report.endedSessions == 1)
                #expect(report.proof.allSatisfy { $0.remaining == 0 })
                await hostile.close()
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        @Test("C3b: more large objects than the lock table holds are unlinked in parts")
        func sixtyThousandLargeObjectsAreUnlinked() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantConfig(name: name))
                try await TenantFixture.withTenant(credentials) {
                    try await $0.query("SELECT count(lo_create(0)) FROM generate_series(1, 60000)")
                }
                let report = try await admin.removeTenant(named: name)
                #expect(report.unlinkedLargeObjects == 60_000)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
            #expect(try await Self.largeObjects() == 0)
        }

        @Test("C3e: a session of the service login that holds a role is named, and the removal goes on later")
        func aServiceSessionThatHoldsARoleIsNamed() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                try await TenantFixture.withSuperuser { connection in
                    try await connection.query("SET SESSION AUTHORIZATION cloacina_service")
                    try await connection.query("SET ROLE \(unescaped: name)_runtime")
                    try await connection.script("BEGIN; SELECT lo_create(0)")
                    let error = await #expect(throws: AdminError.self) {
                        try await admin.removeTenant(named: name, patience: .seconds(1))
                    }
                    #expect(error?.code == .busy)
                    #expect(error?.message.contains("pid \(connection.backendPID)") == true)
                    #expect(try await admin.tenant(named: name).state == .removing)
                    // What it made is found at the next call, role and all.
                    try await connection.query("COMMIT")
                }
                let report = try await admin.removeTenant(named: name)
                #expect(report.unlinkedLargeObjects == 1)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
            #expect(try await Self.largeObjects() == 0)
        }

        @Test("C17, M3: what others made of a tenant's things is listed, and dropped only on request")
        func othersObjectsAreListedAndDroppedOnlyOnRequest() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                try await TenantFixture.withSuperuser {
                    try await $0.script(
                        """
                        CREATE SCHEMA reporting;
                        CREATE VIEW reporting.all_items AS SELECT id FROM \(name).items;
                        CREATE VIEW reporting.number AS SELECT count(*) FROM reporting.all_items;
                        CREATE TABLE reporting.bills (item bigint REFERENCES \(name).items, due int DEFAULT \(name).answer());
                        CREATE VIEW reporting.untouched AS SELECT item FROM reporting.bills;
                        """)
                }
                let expected = [
                    "constraint bills_item_fkey on table reporting.bills",
                    "default value for column due of table reporting.bills", "view reporting.all_items",
                    "view reporting.number",
                ]
                try await TenantFixture.withTenant(credentials) { session in
                    let error = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                    #expect(error?.code == .dependentsExist)
                    #expect(error?.message.contains(expected.joined(separator: ", ")) == true)
                    #expect(error?.message.contains("--cascade") == true)
                    // Nothing was changed: the tenant works on.
                    try await session.query("SELECT 1")
                }
                #expect(try await admin.tenant(named: name).state == .active)
                let plan = try await admin.plannedSQL(removing: name)
                #expect(plan[0].contains(expected.joined(separator: ", ")))
                let report = try await admin.removeTenant(named: name, cascade: true)
                #expect(report.droppedDependents == expected)
                #expect(report.droppedDependentCount == expected.count)
                try await TenantFixture.withSuperuser { connection in
                    let left: [String] = try await connection.query(
                        """
                        SELECT relname::text AS name FROM pg_class WHERE relnamespace = 'reporting'::regnamespace ORDER BY 1
                        """
                    ).column("name")
                    #expect(left == ["bills", "untouched"])
                }
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        @Test("C17: what a tenant's own roles have outside its schema is no dependent of others")
        func whatIsTheTenantsOwnNeedsNoFurtherFlag() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                try await TenantFixture.withSuperuser {
                    try await $0.script(
                        """
                        CREATE SCHEMA shared;
                        CREATE VIEW shared.mine AS SELECT id FROM \(name).items;
                        ALTER VIEW shared.mine OWNER TO \(name)_owner;
                        """)
                }
                let report = try await admin.removeTenant(named: name)
                #expect(report.droppedDependents.isEmpty)
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        @Test("C3: privileges that the administrator granted are taken, those of others are named with their objects")
        func privilegesOfOthersAreNamed() async throws {
            let name = TenantFixture.name()
            let database = try #require(TestDatabase.current)
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                try await admin.withBackend { connection in
                    try await connection.script(
                        """
                        GRANT CONNECT ON DATABASE \(database.name) TO \(name)_a;
                        CREATE SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO \(name)_runtime;
                        """)
                }
                try await TenantFixture.withSuperuser {
                    try await $0.script(
                        """
                        CREATE SCHEMA reporting; CREATE TABLE reporting.t ();
                        GRANT SELECT ON reporting.t TO \(name)_runtime;
                        """)
                }
                let error = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                #expect(error?.code == .removalIncomplete)
                #expect(error?.message.contains("\(name)_runtime: table reporting.t") == true)
                #expect(error?.message.contains("extensions") == false)
                #expect(error?.message.contains("database") == true)
                try await TenantFixture.withSuperuser {
                    try await $0.script("REVOKE ALL ON reporting.t FROM \(name)_runtime")
                }
                let report = try await admin.removeTenant(named: name)
                #expect(report.proof.allSatisfy { $0.remaining == 0 })
            }
            #expect(try await TenantFixture.traces(of: name).isEmpty)
        }

        @Test("Issue 11, point 2: the proof counts every catalog in which something of a tenant can be")
        func theProofCountsEveryCatalog() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                _ = try await admin.createTenant(TenantConfig(name: name))
                let catalogs = try await admin.removeTenant(named: name).proof.map(\.catalog)
                let expected = [
                    "pg_namespace", "pg_roles", "pg_largeobject_metadata", "pg_default_acl", "pg_shdepend",
                    "pg_database",
                    "pg_parameter_acl", "pg_db_role_setting", "pg_prepared_xacts", "pg_stat_activity",
                    "pg_shdepend of cloacina_tenants",
                ]
                #expect(Set(expected).isSubset(of: catalogs))
            }
        }

        private static func largeObjects() async throws -> Int {
            try await TenantFixture.withSuperuser {
                try await $0.query("SELECT count(*) FROM pg_largeobject_metadata").single()
            }
        }
    }
}
