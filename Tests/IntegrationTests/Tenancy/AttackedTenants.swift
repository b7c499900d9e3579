import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

/// Two tenants that all tests of a suite share: the one whose login attacks, and its victim.
struct AttackedTenants: Sendable {
    @TaskLocal static var current: AttackedTenants?

    let attacker: TenantCredentials
    let victim: TenantCredentials

    var me: String { self.attacker.tenant }
    var them: String { self.victim.tenant }

    /// Makes them in a database of the suite's own, lends them, and removes them as an operator would.
    fileprivate static func with(engineAccess: Bool, _ body: () async throws -> Void) async throws {
        guard let server = TestServer.configured else { return try await body() }
        try await TestDatabase.with(on: server) {
            try await TenantFixture.withAdmin { admin in
                var credentials: [TenantCredentials] = []
                for name in [TenantFixture.name(), TenantFixture.name()] {
                    var config = TenantFixture.config(name, sets: try TenantFixture.sets())
                    config.engineAccess = engineAccess
                    credentials.append(try await admin.createTenant(config))
                }
                let tenants = AttackedTenants(attacker: credentials[0], victim: credentials[1])
                try await TenantFixture.withTenant(tenants.victim) {
                    try await $0.query("INSERT INTO items (name) VALUES ('secret')")
                }
                try await Self.$current.withValue(tenants) { try await body() }
                for credentials in credentials { try await admin.removeTenant(named: credentials.tenant) }
            }
        }
    }

    /// The suite's tenants.
    static func shared() throws -> AttackedTenants { try #require(self.current) }

    /// Puts the tenants', the administrator's and the database's names in place.
    func fill(_ sql: String) throws -> String {
        let database = try #require(TestDatabase.current)
        let administrator = try #require(URLComponents(string: database.server.administratorURL)?.user)
        return sql.replacing("{me}", with: self.me).replacing("{them}", with: self.them)
            .replacing("{database}", with: database.name).replacing("{administrator}", with: administrator)
    }

    /// Tries something as the login, and again as the runtime role that the login may take on.
    func expectRefused(_ attempt: Attempt) async throws {
        let sql = try self.fill(attempt.sql)
        try await TenantFixture.withTenant(self.attacker) { session in
            for role in ["NONE", self.me + "_runtime"] {
                try await session.script("SET ROLE \(role)")
                try await Self.expectRefused(sql, attempt.states, by: session)
                // What began a transaction is in a failed one now; anything else is only warned.
                try await session.script("ROLLBACK")
            }
        }
    }

    static func expectRefused(
        _ sql: String, _ states: Set<String>, by session: PostgresConnection
    ) async throws {
        do {
            try await session.script(sql)
            Issue.record("allowed: \(sql)")
        } catch {
            #expect(states.contains(error.sqlState ?? ""), "\(sql): \(error.debugDescription)")
        }
    }

    /// Everything that anybody is granted in the two schemas, on the database, by default, and by membership.
    static func grants() async throws -> [String] {
        let tenants = try Self.shared()
        let roles = TenantFixture.roles(tenants.me) + TenantFixture.roles(tenants.them)
        return try await TenantFixture.withSuperuser { connection in
            try await connection.query(
                """
                WITH roles AS (
                    SELECT oid FROM pg_roles WHERE rolname::text = ANY (\(roles)::text[])
                ), spaces AS (
                    SELECT oid, nspname, nspacl FROM pg_namespace WHERE nspname IN (\(tenants.me), \(tenants.them))
                )
                SELECT line FROM (
                    SELECT concat_ws(' ', 'schema', nspname, nspacl) AS line FROM spaces
                    UNION ALL SELECT concat_ws(' ', 'relation', c.oid::regclass, c.relowner::regrole, c.relacl)
                    FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace
                    UNION ALL SELECT concat_ws(' ', 'routine', p.oid::regprocedure, p.proowner::regrole, p.proacl)
                    FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace
                    UNION ALL SELECT concat_ws(' ', 'database', datacl) FROM pg_database
                    WHERE datname = current_database()
                    UNION ALL SELECT concat_ws(' ', 'default', defaclrole::regrole, defaclobjtype, defaclacl)
                    FROM pg_default_acl d JOIN roles r ON r.oid = d.defaclrole
                    UNION ALL SELECT concat_ws(' ', 'member', roleid::regrole, member::regrole, m.admin_option)
                    FROM pg_auth_members m
                    WHERE m.roleid IN (SELECT oid FROM roles) OR m.member IN (SELECT oid FROM roles)
                ) AS all_lines ORDER BY 1
                """
            ).column("line")
        }
    }
}

/// One line of SQL that a tenant tries, and how the server may refuse it.
struct Attempt: Sendable, ExpressibleByStringLiteral, CustomTestStringConvertible {
    /// Names stand in braces: `{me}`, `{them}`, `{database}`, `{administrator}`.
    let sql: String
    /// The SQLSTATEs of a refusal; insufficient privilege unless said otherwise.
    let states: Set<String>

    init(_ sql: String, _ states: String...) {
        self.sql = sql
        self.states = Set(states)
    }

    init(stringLiteral sql: String) { self.init(sql, "42501") }

    var testDescription: String { self.sql }
}

/// Gives a suite two tenants, as `AttackedTenants.current`.
struct AttackedTenantsTrait: SuiteTrait, TestScoping {
    let engineAccess: Bool

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable @concurrent () async throws -> Void
    ) async throws {
        try await AttackedTenants.with(engineAccess: self.engineAccess, function)
    }
}

extension Trait where Self == AttackedTenantsTrait {
    /// Two tenants that see their pipelines through views.
    static var attackedTenants: Self { Self(engineAccess: false) }

    /// Two tenants whose logins may run their runners, and so write the engine's rows of their own schema.
    static var attackedTenantsWithEngines: Self { Self(engineAccess: true) }
}
