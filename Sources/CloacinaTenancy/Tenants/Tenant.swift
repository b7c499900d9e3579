public import CloacinaPostgres
public import FoundationEssentials

/// A tenant as the registry knows it.
public struct Tenant: Sendable, Hashable, Encodable {
    /// How far a tenant's life has got.
    public enum State: String, Sendable, Hashable, Codable, CaseIterable {
        /// Being created; its credentials have not been handed over.
        case creating
        /// In use.
        case active
        /// Being removed; its logins are shut.
        case removing
    }

    /// The tenant's identity; a later tenant of the same name has another.
    public let id: UUID
    /// Its name.
    public let name: String
    /// Its schema.
    public let schema: String
    /// How far its life has got.
    public let state: State
    /// The newest migration of this library's in its schema, 0 for none.
    public let version: Int
    /// The newest migration of every further source, by the registry.
    public let versions: [String: Int]
    /// The role that owns the schema and runs its migrations; nobody logs in as it.
    public let ownerRole: String
    /// The role that reads and writes the application's tables; nobody logs in as it.
    public let runtimeRole: String
    /// The role that reads and writes the engine's tables too; nobody logs in as it.
    public let engineRole: String
    /// True when the tenant's own logins may run its runners.
    public let engineAccess: Bool
    /// The login that is in use.
    public let login: String
    /// When it was created, by the server's clock.
    public let createdAt: Date
    /// How much of the server its logins may use.
    public let limits: TenantLimits
    /// The limits that the login in use does not have, by the server's names, such as `temp_file_limit`: the administrator may
    /// not set them, or the tenant has set others.
    public let limitsNotInForce: [String]

    /// What a pooled connection is set to for this tenant.
    ///
    /// With ``TenantIsolation/login`` both uses are the same connection; a runner on it needs ``engineAccess``.
    /// - Parameter use: What it is for: a runner by default.
    public func label(_ isolation: TenantIsolation, for use: TenantUse = .engine) -> PostgresLabel {
        switch (isolation, use) {
        case (.role, .engine): PostgresLabel(schema: self.schema, role: self.engineRole)
        case (.role, .data): PostgresLabel(schema: self.schema, role: self.runtimeRole)
        case (.login, _): PostgresLabel(schema: self.schema, login: self.login)
        }
    }
}

/// How far apart a pool keeps its tenants.
public enum TenantIsolation: String, Sendable, Hashable, Codable, CaseIterable {
    /// The pool's service login takes on a role of the tenant's: defence in depth, for SQL of your own. `RESET ROLE`
    /// undoes it.
    case role
    /// The connection is authenticated as the tenant's own login: the server enforces it against any SQL.
    case login
}

/// The use of a connection to a tenant's schema, which decides as which role it acts under ``TenantIsolation/role``.
public enum TenantUse: String, Sendable, Hashable, Codable, CaseIterable {
    /// A runner and its tasks: the engine's tables, and the application's.
    case engine
    /// The application's tables alone; of pipelines, what the views show and the functions allow.
    case data
}
