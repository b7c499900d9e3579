import CloacinaPostgres
import Testing

/// The short-lived logins of the test's own database, as far as they can be seen.
enum MigratorWatch {
    /// The logins that are there.
    static func logins() async throws -> [String] {
        try await TenantFixture.withSuperuser { connection in
            try await connection.query(
                """
                SELECT r.rolname::text AS name FROM pg_roles r JOIN pg_database d ON d.datname = current_database()
                WHERE r.rolname LIKE 'cloacina\\_migrator\\_%'
                  AND shobj_description(r.oid, 'pg_authid') LIKE 'cloacina: migrator of database ' || d.oid || ',%'
                ORDER BY 1
                """
            ).column("name")
        }
    }

    /// True when one of them waits for a lock.
    static let waits: PostgresStatement = """
        SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                       AND usename LIKE 'cloacina\\_migrator\\_%' AND wait_event_type = 'Lock')
        """

    /// True when none of them has a session.
    static let isGone: PostgresStatement = """
        SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                           AND usename LIKE 'cloacina\\_migrator\\_%')
        """

    /// True when a role exists.
    static func exists(_ role: String) async throws -> Bool {
        try await TenantFixture.withSuperuser { connection in
            try await connection.query("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = \(role))").single()
        }
    }

    /// True when a table of a tenant's exists.
    static func hasTable(_ table: String, in tenant: String) async throws -> Bool {
        try await TenantFixture.withSuperuser { connection in
            try await connection.query("SELECT to_regclass(\(tenant + "." + table)) IS NOT NULL").single()
        }
    }
}
