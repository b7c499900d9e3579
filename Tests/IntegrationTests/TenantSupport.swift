import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials
import Testing

/// What the tenants' tests share.
enum TenantFixture {
    /// Lends an administrator on the test's own, freshly bootstrapped database.
    static func withAdmin<R>(
        patience: Duration = .seconds(10), faults: FaultPoints = .none, bootstrap: Bool = true,
        _ body: (DatabaseAdmin) async throws -> R
    ) async throws -> R {
        let admin = DatabaseAdmin(
            try #require(TestDatabase.current).administrator, patience: patience, faults: faults)
        do {
            if bootstrap { try await admin.bootstrap() }
            let result = try await body(admin)
            await admin.close()
            return result
        } catch {
            await admin.close()
            throw error
        }
    }

    static func withSuperuser<R>(_ body: (PostgresConnection) async throws -> R) async throws -> R {
        try await PostgresConnection.withConnection(try #require(TestDatabase.current).superuser, body)
    }

    /// A name that no other test uses: roles belong to the whole server.
    static func name() -> String { TestDatabase.uniqueName("t") }

    /// An application's migrations: two tables, a sequence and a function.
    static func sets(_ extra: String = "") throws -> [MigrationSet] {
        let text = """
            -- Things of the application.
            -- migrate:up
            CREATE TABLE items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
            CREATE TABLE notes (item bigint REFERENCES items, body text);
            CREATE SEQUENCE tickets;
            CREATE FUNCTION answer() RETURNS integer LANGUAGE sql AS 'SELECT 42';
            \(extra)
            """
        let migration = try Migration(fileName: "0001_things.tenant.sql", contents: Array(text.utf8))
        return [try MigrationSet(source: "app", lane: .tenant, migrations: [migration])]
    }

    static func config(_ name: String, sets: [MigrationSet] = []) -> TenantConfig {
        var config = TenantConfig(name: name)
        config.migrationSets = sets
        return config
    }

    /// What exists under the tenant's names: schema and roles.
    static func traces(of name: String) async throws -> [String] {
        try await self.withSuperuser { connection in
            try await connection.query(
                """
                SELECT 'schema ' || nspname AS trace FROM pg_namespace WHERE nspname = \(name)
                UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname::text = ANY (\(self.roles(name))::text[])
                ORDER BY 1
                """
            ).column("trace")
        }
    }

    static func roles(_ name: String) -> [String] { ["_owner", "_runtime", "_engine", "_a", "_b"].map { name + $0 } }

    /// The ledger of a tenant's operations, oldest first: `kind step state`.
    static func ledger(of name: String) async throws -> [String] {
        try await self.withSuperuser { connection in
            try await connection.query(
                """
                SELECT concat_ws(' ', kind, step, state) AS line FROM cloacina.operations
                WHERE tenant_name = \(name) ORDER BY started_at, position
                """
            ).column("line")
        }
    }

    /// Connects as the tenant, by the credentials alone.
    @discardableResult
    static func withTenant<R>(
        _ credentials: TenantCredentials, _ body: (PostgresConnection) async throws -> R
    ) async throws -> R {
        try await PostgresConnection.withConnection(PostgresConfiguration(credentials.connectionString), body)
    }
}
