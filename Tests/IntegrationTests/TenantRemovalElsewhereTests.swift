import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// What a tenant leaves beyond its database: in other databases of the server, in transactions that nobody's session
    /// holds, and with the group of all tenants. Issue 11, point 2.
    ///
    /// A server of its own: what lies in `template1` is copied into every database that is made.
    @Suite(
        .serialized, .privateServer { _ in [ServerSetting("max_prepared_transactions", "10")] },
        .timeLimit(.minutes(40)))
    struct TenantRemovalElsewhereTests {
        @Test("C3c: large objects in postgres and template1 go with the tenant")
        func whatLiesInOtherDatabasesGoes() async throws {
            try await withPrivateDatabase { _ in
                let name = TenantFixture.name()
                try await TenantFixture.withAdmin { admin in
                    let credentials = try await admin.createTenant(TenantConfig(name: name))
                    for database in ["postgres", "template1"] {
                        try await Self.asTenant(credentials, in: database) { try await $0.query("SELECT lo_create(0)") }
                    }
                    let plan = try await admin.plannedSQL(removing: name)
                    #expect(plan.contains("-- in the database template1:"))
                    let report = try await admin.removeTenant(named: name)
                    #expect(report.cleanedDatabases == ["postgres", "template1"])
                    #expect(report.unlinkedLargeObjects == 2)
                }
                #expect(try await TenantFixture.traces(of: name).isEmpty)
            }
        }

        @Test("C3c: a database that can't be reached is named before anything is changed")
        func aDatabaseOutOfReachIsNamedBeforeAnythingIsChanged() async throws {
            try await withPrivateDatabase { _ in
                let (name, other) = (TenantFixture.name(), TenantFixture.name())
                try await TenantFixture.withAdmin { admin in
                    let credentials = try await admin.createTenant(TenantConfig(name: name))
                    try await Self.asSuperuser("CREATE DATABASE \(other)")
                    try await Self.asTenant(credentials, in: other) { try await $0.query("SELECT lo_create(0)") }
                    try await Self.asSuperuser("ALTER DATABASE \(other) ALLOW_CONNECTIONS false")
                    let error = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                    #expect(error?.code == .usedElsewhere)
                    #expect(error?.message.contains("the database \(other)") == true)
                    #expect(error?.message.contains("DROP OWNED BY") == true)
                    #expect(try await admin.tenant(named: name).state == .active)
                    try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT 1") }
                    try await Self.asSuperuser("ALTER DATABASE \(other) ALLOW_CONNECTIONS true")
                    let report = try await admin.removeTenant(named: name)
                    #expect(report.cleanedDatabases == [other])
                }
                #expect(try await TenantFixture.traces(of: name).isEmpty)
                try await Self.asSuperuser("DROP DATABASE \(other)")
            }
        }

        @Test("C3c: a privilege that only others can take is named with its REVOKE before anything is changed")
        func aPrivilegeOnSomebodyElsesDatabaseIsNamed() async throws {
            try await withPrivateDatabase { _ in
                let name = TenantFixture.name()
                try await TenantFixture.withAdmin { admin in
                    _ = try await admin.createTenant(TenantConfig(name: name))
                    try await Self.asSuperuser("GRANT CONNECT ON DATABASE postgres TO \(name)_a")
                    let error = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                    #expect(error?.code == .usedElsewhere)
                    let statement = "REVOKE ALL ON database postgres FROM \"\(name)_a\""
                    #expect(error?.message.contains(statement) == true)
                    #expect(try await admin.tenant(named: name).state == .active)
                    try await Self.asSuperuser(statement)
                    try await admin.removeTenant(named: name)
                }
                #expect(try await TenantFixture.traces(of: name).isEmpty)
            }
        }

        @Test(
            "V37: what another than the owner let the tenant do in its database is taken, or named before anything is changed"
        )
        func aPrivilegeOfAnotherGrantorIsTakenOrNamed() async throws {
            try await withPrivateDatabase { _ in
                let (name, other) = (TenantFixture.name(), TestDatabase.uniqueName("grantor"))
                let database = try #require(TestDatabase.current).name
                try await TenantFixture.withAdmin { admin in
                    let user = PostgresIdentifier.quote(try await admin.endpoint().user)
                    let grant =
                        "SET ROLE \(other); GRANT TEMPORARY ON DATABASE \(database) TO \(name)_owner; RESET ROLE"
                    try await Self.asSuperuser(
                        """
                        CREATE ROLE \(other); GRANT TEMPORARY ON DATABASE \(database) TO \(other) WITH GRANT OPTION
                        """)
                    _ = try await admin.createTenant(TenantConfig(name: name))
                    try await Self.asSuperuser(grant)
                    let error = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                    #expect(error?.code == .usedElsewhere)
                    let way =
                        "SET ROLE \"\(other)\"; REVOKE ALL ON database \(database) FROM \"\(name)_owner\"; RESET ROLE"
                    #expect(error?.message.contains(way) == true, "\(error?.message ?? "")")
                    #expect(try await admin.tenant(named: name).state == .active)
                    try await Self.asSuperuser(way + "; " + grant + "; GRANT \(other) TO \(user)")
                    // Of whoever granted it the administrator is a member now.
                    try await admin.removeTenant(named: name)
                }
                #expect(try await TenantFixture.traces(of: name).isEmpty)
                try await Self.asSuperuser("DROP OWNED BY \(other); DROP ROLE \(other)")
            }
        }

        @Test("C3d: what the tenant prepared is rolled back, wherever, a change of its login included")
        func preparedTransactionsAreRolledBack() async throws {
            try await withPrivateDatabase { _ in
                let name = TenantFixture.name()
                try await TenantFixture.withAdmin { admin in
                    let credentials = try await admin.createTenant(
                        TenantFixture.config(name, sets: TenantFixture.sets()))
                    try await TenantFixture.withTenant(credentials) { tenant in
                        for (number, sql) in [
                            "INSERT INTO items (name) VALUES ('x'); SELECT lo_create(0)",
                            "ALTER ROLE \(credentials.username) PASSWORD 'x'",
                        ].enumerated() {
                            try await tenant.script("BEGIN; \(sql)")
                            try await tenant.script("PREPARE TRANSACTION 'it''s \(number) of \(name)'")
                        }
                    }
                    try await Self.asTenant(credentials, in: "postgres") { tenant in
                        try await tenant.script("BEGIN; SELECT lo_create(0)")
                        try await tenant.script("PREPARE TRANSACTION 'elsewhere of \(name)'")
                    }
                    let report = try await admin.removeTenant(named: name)
                    #expect(report.rolledBackTransactions == 3)
                }
                #expect(try await TenantFixture.traces(of: name).isEmpty)
            }
        }

        @Test("C3d: another's prepared transaction that locks a table is named")
        func anothersPreparedTransactionIsNamed() async throws {
            try await withPrivateDatabase { _ in
                let name = TenantFixture.name()
                try await TenantFixture.withAdmin { admin in
                    _ = try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets()))
                    try await Self.asSuperuser("BEGIN; LOCK TABLE \(name).items; PREPARE TRANSACTION 'kept'")
                    let error = await #expect(throws: AdminError.self) {
                        try await admin.removeTenant(named: name, patience: .seconds(1))
                    }
                    #expect(error?.code == .busy)
                    #expect(error?.message.contains("prepared transaction kept") == true)
                    try await Self.asSuperuser("ROLLBACK PREPARED 'kept'")
                    try await admin.removeTenant(named: name)
                }
                #expect(try await TenantFixture.traces(of: name).isEmpty)
            }
        }

        @Test("C5: what tenants left to the group of their logins goes and is reported, and the group keeps its access")
        func whatTenantsLeftToTheirGroupGoes() async throws {
            try await withPrivateDatabase { _ in
                let (name, other) = (TenantFixture.name(), TenantFixture.name())
                try await TenantFixture.withAdmin { admin in
                    _ = try await admin.createTenant(TenantConfig(name: name))
                    let theirs = try await admin.createTenant(TenantConfig(name: other))
                    // As a tenant could where it may act as the group.
                    try await Self.asSuperuser(
                        """
                        SET ROLE cloacina_tenants; SELECT lo_from_bytea(9001, 'acme secret');
                        ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC
                        """)
                    let report = try await admin.removeTenant(named: name)
                    #expect(report.removedStrays == 2)
                    let strays = report.proof.first { $0.catalog == "pg_shdepend of cloacina_tenants" }
                    #expect(strays?.remaining == 0)
                    try await TenantFixture.withSuperuser { connection in
                        let left: Int = try await connection.query(
                            """
                            SELECT (SELECT count(*) FROM pg_largeobject_metadata) + (
                                SELECT count(*) FROM pg_default_acl WHERE defaclrole = 'cloacina_tenants'::regrole)
                            """
                        ).single()
                        #expect(left == 0)
                    }
                    try await TenantFixture.withTenant(theirs) { try await $0.query("SELECT 1") }
                    try await admin.removeTenant(named: other)
                }
            }
        }

        @Test("C19: a tenant whose roles another database's tenant uses is left alone, sessions and logins too")
        func aCopyOfTheDatabaseLeavesTheOriginalAlone() async throws {
            try await withPrivateDatabase { _ in
                let name = TenantFixture.name()
                let database = try #require(TestDatabase.current)
                let copy = TestDatabase(server: database.server, name: database.name + "_copy")
                try await TenantFixture.withAdmin { admin in
                    let credentials = try await admin.createTenant(
                        TenantFixture.config(name, sets: TenantFixture.sets()))
                    await admin.close()
                    try await Self.copy(database, to: copy)
                    try await TenantFixture.withTenant(credentials) { session in
                        let elsewhere = DatabaseAdmin(copy.administrator)
                        for _ in 0..<2 {
                            let error = await #expect(throws: AdminError.self) {
                                try await elsewhere.removeTenant(named: name)
                            }
                            #expect(error?.code == .usedElsewhere)
                            #expect(error?.message.contains("of the database \(database.name)") == true)
                            #expect(error?.message.contains("DROP OWNED") == false)
                        }
                        let kept = try await elsewhere.tenant(named: name)
                        #expect(kept.state == .active)
                        await elsewhere.close()
                        try await session.query("SELECT 1")
                    }
                    try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT * FROM items") }
                    let error = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
                    #expect(error?.message.contains("of the database \(copy.name)") == true)
                    try await copy.drop()
                    try await admin.removeTenant(named: name)
                }
                #expect(try await TenantFixture.traces(of: name).isEmpty)
            }
        }

        @Test("C19: a copy of the database changes no login of the original, which goes on although there is a copy")
        func aCopyChangesNoLoginOfTheOriginal() async throws {
            try await withPrivateDatabase { _ in
                let name = TenantFixture.name()
                let database = try #require(TestDatabase.current)
                let copy = TestDatabase(server: database.server, name: database.name + "_copy")
                try await TenantFixture.withAdmin { admin in
                    let credentials = try await admin.createTenant(TenantConfig(name: name))
                    await admin.close()
                    try await Self.copy(database, to: copy)
                    let elsewhere = DatabaseAdmin(copy.administrator)
                    let changes: [() async throws -> Void] = [
                        { try await elsewhere.reissueCredentials(forTenant: name) },
                        { _ = try await elsewhere.plannedSQL(reissuing: name) },
                        { try await elsewhere.setLimits(.none, forTenantNamed: name) },
                        { try await elsewhere.setEngineAccess(true, ofTenant: name) },
                        { try await elsewhere.adoptTenant(named: name) },
                    ]
                    for change in changes {
                        let error = await #expect(throws: AdminError.self) { try await change() }
                        #expect(error?.code == .usedElsewhere)
                        #expect(error?.message.contains("of the database \(database.name)") == true)
                    }
                    await elsewhere.close()
                    try await TenantFixture.withTenant(credentials) { tenant in
                        let error = await #expect(throws: PostgresError.self) {
                            try await tenant.query("SELECT * FROM cloacina_pipelines")
                        }
                        #expect(error?.sqlState == "42501")
                    }
                    try await admin.setLimits(TenantLimits(), forTenantNamed: name)
                    let reissued = try await admin.reissueCredentials(forTenant: name)
                    try await TenantFixture.withTenant(reissued.credentials) { try await $0.query("SELECT 1") }
                    try await copy.drop()
                    try await admin.removeTenant(named: name)
                }
            }
        }

        @Test("V33: a copy that lets the tenant's logins in is not taken for the original")
        func aCopyWithTheOriginalsRightsIsNotTakenForIt() async throws {
            try await withPrivateDatabase { _ in
                let name = TenantFixture.name()
                let database = try #require(TestDatabase.current)
                let copy = TestDatabase(server: database.server, name: database.name + "_copy")
                try await TenantFixture.withAdmin { admin in
                    let credentials = try await admin.createTenant(TenantConfig(name: name))
                    await admin.close()
                    try await Self.copy(database, to: copy)
                    let connect = "ON DATABASE \(copy.name)"
                    try await Self.asSuperuser("GRANT CONNECT \(connect) TO \(name)_runtime")
                    let elsewhere = DatabaseAdmin(copy.administrator)
                    try await self.expectRefusal(of: name, by: elsewhere, naming: database.name)
                    await elsewhere.close()
                    // It may be that one that tenants use by now.
                    try await self.expectRefusal(of: name, by: admin, naming: copy.name)
                    try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT 1") }
                    try await Self.asSuperuser("REVOKE CONNECT \(connect) FROM \(name)_runtime")
                    try await admin.setLimits(TenantLimits(), forTenantNamed: name)
                    try await copy.drop()
                    try await admin.removeTenant(named: name)
                }
            }
        }

        @Test("V33: a database that gave its name to a copy changes no login, nor does the copy, until one is gone")
        func aRenamedOriginalChangesNoLogin() async throws {
            try await withPrivateDatabase { _ in
                let name = TenantFixture.name()
                let database = try #require(TestDatabase.current)
                let old = TestDatabase(server: database.server, name: database.name + "_old")
                try await TenantFixture.withAdmin { admin in
                    let credentials = try await admin.createTenant(TenantConfig(name: name))
                    await admin.close()
                    try await PostgresConnection.withConnection(database.server.superuser) {
                        try await $0.script("ALTER DATABASE \(database.name) RENAME TO \(old.name)")
                    }
                    try await Self.copy(old, to: database)
                    try await Self.asSuperuser("GRANT CONNECT ON DATABASE \(database.name) TO \(name)_runtime")
                    let stale = DatabaseAdmin(old.administrator)
                    try await self.expectRefusal(of: name, by: stale, naming: database.name)
                    await stale.close()
                    try await self.expectRefusal(of: name, by: admin, naming: old.name)
                    try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT 1") }
                    try await old.drop()
                    let reissued = try await admin.reissueCredentials(forTenant: name)
                    try await TenantFixture.withTenant(reissued.credentials) { try await $0.query("SELECT 1") }
                    try await admin.adoptTenant(named: name)
                    try await admin.removeTenant(named: name)
                }
            }
        }

        @Test("V34: a tenant that was half created when its database was copied is the original's to finish")
        func aHalfCreatedTenantIsTheOriginalsToFinish() async throws {
            struct Killed: Error {}
            try await withPrivateDatabase { _ in
                let name = TenantFixture.name()
                let database = try #require(TestDatabase.current)
                let copy = TestDatabase(server: database.server, name: database.name + "_copy")
                try await TenantFixture.withAdmin { admin in
                    let error = await #expect(throws: AdminError.self) {
                        try await admin.createTenant(TenantConfig(name: name)) { _ in throw Killed() }
                    }
                    #expect(error?.code == .handOverFailed)
                    await admin.close()
                    try await Self.copy(database, to: copy)
                    let credentials = try await admin.createTenant(TenantConfig(name: name))
                    let elsewhere = DatabaseAdmin(copy.administrator)
                    let refusal = await #expect(throws: AdminError.self) {
                        try await elsewhere.createTenant(TenantConfig(name: name))
                    }
                    #expect(refusal?.code == .usedElsewhere)
                    #expect(refusal?.message.contains("of the database \(database.name)") == true)
                    await elsewhere.close()
                    try await TenantFixture.withTenant(credentials) { try await $0.query("SELECT 1") }
                    try await copy.drop()
                    try await admin.removeTenant(named: name)
                }
            }
        }

        /// Checks that what changes a tenant's logins is refused in one database because of another.
        private func expectRefusal(of name: String, by admin: DatabaseAdmin, naming other: String) async throws {
            let changes: [() async throws -> Void] = [
                { try await admin.reissueCredentials(forTenant: name) },
                { try await admin.setLimits(.none, forTenantNamed: name) },
                { try await admin.setEngineAccess(true, ofTenant: name) },
            ]
            for change in changes {
                let error = await #expect(throws: AdminError.self) { try await change() }
                #expect(error?.code == .usedElsewhere)
                #expect(error?.message.contains("of the database \(other) ") == true, "\(error?.message ?? "")")
            }
        }

        /// The database that is copied has nobody connected for the length of the copy.
        private static func copy(_ database: TestDatabase, to copy: TestDatabase) async throws {
            try await PostgresConnection.withConnection(database.server.superuser) { connection in
                let owner = try await PostgresConnection.withConnection(
                    PostgresConfiguration(database.server.administratorURL)
                ) { $0.endpoint.user }
                try await connection.query(
                    PostgresStatement(
                        "CREATE DATABASE \(copy.name) TEMPLATE \(database.name) OWNER \(PostgresIdentifier.quote(owner))",
                        prepared: false))
            }
        }

        private static func asSuperuser(_ sql: String) async throws {
            try await TenantFixture.withSuperuser { try await $0.script(sql) }
        }

        private static func asTenant<R>(
            _ credentials: TenantCredentials, in database: String, _ body: (PostgresConnection) async throws -> R
        ) async throws {
            var configuration = PostgresConfiguration(credentials.connectionString)
            configuration.database = database
            _ = try await PostgresConnection.withConnection(configuration, body)
        }
    }
}
