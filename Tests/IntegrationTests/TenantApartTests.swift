import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

extension ServerTests {
    /// C5: whatever one tenant does, tried as the other sees it, on this server's version.
    @Suite(.timeLimit(.minutes(40))) struct TenantApartTests {
        private struct Pair {
            let (mine, theirs): (String, String)
            let (me, them): (PostgresConnection, PostgresConnection)
            /// The group of the logins.
            let group: String
        }

        private func withPair(_ body: (Pair) async throws -> Void) async throws {
            let (mine, theirs) = (TenantFixture.name(), TenantFixture.name())
            try await TenantFixture.withAdmin { admin in
                let group = try await admin.bootstrap().tenantsRole
                var credentials: [TenantCredentials] = []
                for name in [mine, theirs] {
                    credentials.append(
                        try await admin.createTenant(TenantFixture.config(name, sets: TenantFixture.sets())))
                }
                try await TenantFixture.withTenant(credentials[0]) { me in
                    try await TenantFixture.withTenant(credentials[1]) { them in
                        try await body(Pair(mine: mine, theirs: theirs, me: me, them: them, group: group))
                    }
                }
                for name in [mine, theirs] { try await admin.removeTenant(named: name) }
                // Removal left nothing that belongs to the group either.
                let owned: Int = try await TenantFixture.withSuperuser {
                    try await $0.query(
                        """
                        SELECT count(*) FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
                            AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = \(group))
                        """
                    ).single()
                }
                #expect(owned == 0)
            }
        }

        private func expectRefused(
            _ sql: String, by connection: PostgresConnection, sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            do {
                try await connection.script(sql)
                Issue.record("allowed: \(sql)", sourceLocation: sourceLocation)
            } catch {
                #expect(error.sqlState == "42501", "\(sql): \(error)", sourceLocation: sourceLocation)
            }
        }

        @Test func nobodyCanActAsARoleThatTenantsShareOrThatIsAnothers() async throws {
            try await self.withPair { pair in
                let roles =
                    [pair.group, "cloacina_service"]
                    + ["_owner", "_runtime", "_engine", "_a", "_b"].map { pair.theirs + $0 }
                    + ["_owner", "_engine", "_b"].map { pair.mine + $0 }
                for role in roles {
                    try await self.expectRefused("SET ROLE \(role)", by: pair.me)
                    try await self.expectRefused("SELECT set_config('role', '\(role)', false)", by: pair.me)
                    try await self.expectRefused("DROP OWNED BY \(role)", by: pair.me)
                    try await self.expectRefused("REASSIGN OWNED BY \(role) TO \(pair.mine)_a", by: pair.me)
                    try await self.expectRefused(
                        "ALTER DEFAULT PRIVILEGES FOR ROLE \(role) GRANT SELECT ON TABLES TO PUBLIC", by: pair.me)
                    try await self.expectRefused("COMMENT ON ROLE \(role) IS 'x'", by: pair.me)
                }
            }
        }

        @Test func largeObjectsOfOneAreClosedToTheOther() async throws {
            try await self.withPair { pair in
                let object: UInt32 = try await pair.me.query("SELECT lo_from_bytea(0, 'secret')").single()
                for sql in [
                    "SELECT lo_get(\(object))", "SELECT lo_put(\(object), 0, 'x')", "SELECT lo_unlink(\(object))",
                    "GRANT SELECT ON LARGE OBJECT \(object) TO PUBLIC", "COMMENT ON LARGE OBJECT \(object) IS 'x'",
                    "BEGIN; SELECT lo_open(\(object), 262144)",
                ] {
                    try await self.expectRefused(sql, by: pair.them)
                    try? await pair.them.script("ROLLBACK")
                }
                #expect(try await pair.me.query("SELECT lo_get(\(object))").single() == Array("secret".utf8))
            }
        }

        @Test func defaultPrivilegesOfOneChangeNothingForTheOther() async throws {
            try await self.withPair { pair in
                try await pair.me.script("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
                try await self.expectRefused("CREATE TABLE \(pair.mine).t ()", by: pair.me)
                try await self.expectRefused("SELECT * FROM \(pair.mine).items", by: pair.them)
            }
        }

        @Test func commentsOnWhatIsSharedAreRefused() async throws {
            try await self.withPair { pair in
                let database = try #require(TestDatabase.current).name
                for target in [
                    "DATABASE \(database)", "SCHEMA \(pair.mine)", "SCHEMA public", "TABLE \(pair.mine).items",
                    "ROLE \(pair.mine)_a", "ROLE \(pair.group)",
                ] {
                    try await self.expectRefused("COMMENT ON \(target) IS 'x'", by: pair.me)
                }
            }
        }

        /// README names these: the server has no right that would close them. Each is a way to tell another tenant something on
        /// purpose; none reads what that one has not said.
        @Test func whatCantBeClosedIsWhatTheReadmeNames() async throws {
            try await self.withPair { pair in
                // A channel of notifications.
                try await pair.them.listen(on: "anything")
                try await pair.me.query("SELECT pg_notify('anything', 'heard')")
                #expect(try await pair.them.notifications.first { _ in true }?.payload == "heard")
                // An advisory lock.
                #expect(try await pair.me.query("SELECT pg_try_advisory_lock(42)").single(as: Bool.self))
                #expect(try await !pair.them.query("SELECT pg_try_advisory_lock(42)").single(as: Bool.self))
                // A comment on a large object, a setting of the own login, and the name of the application.
                let object: UInt32 = try await pair.me.query("SELECT lo_create(0)").single()
                try await pair.me.script("COMMENT ON LARGE OBJECT \(object) IS 'seen'")
                try await pair.me.script("ALTER ROLE CURRENT_USER SET application_name = 'seen'")
                try await pair.me.script("SET application_name = 'seen'")
                let seen: PostgresStatement = """
                    SELECT (SELECT description FROM pg_description WHERE objoid = \(object)
                            AND classoid = 'pg_largeobject'::regclass) AS comment,
                           (SELECT setconfig::text LIKE '%seen%' FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
                            WHERE r.rolname = \(pair.mine + "_a") AND s.setdatabase = 0) AS setting,
                           (SELECT application_name FROM pg_stat_activity WHERE pid = \(pair.me.backendPID)) AS application
                    """
                let row = try await pair.them.query(seen)[0]
                #expect(try row.value("comment") == "seen")
                #expect(try row.value("setting", as: Bool.self))
                #expect(try row.value("application") == "seen")
            }
        }
    }
}
