import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import Foundation

/// A database prepared for tenants, with an administrator of its own who is no superuser: as operators have it, and because a
/// superuser is spared the server's search for memberships.
struct TenancyDatabase: Sendable {
    /// The database's name, with which the name of every role begins.
    let name: String
    /// The way in as the administrator.
    let target: Target
    /// The way in as whoever runs the benchmark.
    let superuser: Target

    /// Makes the database, lends it, and removes it with all its roles.
    static func with<R>(on target: Target, _ body: (TenancyDatabase) async throws -> R) async throws -> R {
        try await BenchDatabase.with(on: target) { name in
            let (administrator, password) = ("\(name)_admin", UUID().uuidString)
            let superuser = target.inDatabase(name)
            try await PostgresConnection.withConnection(superuser.configuration) { connection in
                try await connection.script(
                    """
                    CREATE ROLE \(administrator) LOGIN CREATEROLE PASSWORD '\(password)';
                    ALTER DATABASE \(name) OWNER TO \(administrator);
                    ALTER SCHEMA public OWNER TO \(administrator);
                    """)
            }
            let database = TenancyDatabase(
                name: name, target: superuser.asRole(administrator, password: password), superuser: superuser)
            try await database.withAdmin { admin in
                var options = BootstrapOptions()
                options.serviceRole = "\(name)_service"
                options.tenantsRole = "\(name)_tenants"
                _ = try await admin.bootstrap(options)
            }
            return try await body(database)
        }
    }

    /// Lends an administrator whose connection is opened when first needed.
    func withAdmin<R>(_ body: (DatabaseAdmin) async throws -> R) async throws -> R {
        let admin = DatabaseAdmin(self.target.configuration)
        do {
            let result = try await body(admin)
            await admin.close()
            return result
        } catch {
            await admin.close()
            throw error
        }
    }

    /// The name of the tenant with a number, from 0.
    func tenant(_ number: Int) -> String { "\(self.name)_\(number)" }

    /// Creates the tenants with the numbers below a count, each with an application's migrations.
    func createTenants(_ count: Int, sets: [MigrationSet] = []) async throws {
        progress("creating \(count) tenants")
        try await self.withAdmin { admin in
            for number in 0..<count {
                var config = TenantConfig(name: self.tenant(number))
                config.migrationSets = sets
                _ = try await admin.createTenant(config)
            }
        }
        // The plans should not depend on when autovacuum comes by.
        try await PostgresConnection.withConnection(self.superuser.configuration) { connection in
            try await connection.script("VACUUM ANALYZE")
        }
    }
}
