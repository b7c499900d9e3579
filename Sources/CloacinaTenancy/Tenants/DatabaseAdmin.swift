public import CloacinaPostgres
package import CloacinaSchema
public import Logging

/// Administers the tenants of one database: each with a schema, roles and credentials of its own.
///
/// ```swift
/// let admin = DatabaseAdmin(PostgresConfiguration("postgresql://admin@db.internal/app"))
/// try await admin.bootstrap()
/// let credentials = try await admin.createTenant(TenantConfig(name: "acme"))
/// await admin.close()
/// ```
///
/// The login needs CREATEROLE and CREATE on the database, and is no superuser. One connection, opened when first
/// needed, serves every call; calls take turns. Every operation writes its steps to the ledger,
/// `cloacina.operations`; what broke off is finished or undone by the same call made again.
public actor DatabaseAdmin {
    nonisolated let configuration: PostgresConfiguration
    nonisolated let logger: Logger
    nonisolated let patience: Duration
    nonisolated let faults: FaultPoints
    nonisolated let migration: MigrationRunner.Configuration
    nonisolated let migrationLogin: MigrationLogin
    nonisolated let remainder = RemainingLogins()
    private nonisolated let gate = SerialGate()
    private var connection: PostgresConnection?

    /// An administrator; nothing is opened yet.
    ///
    /// - Parameters:
    ///   - configuration: How to reach the database, as its administrator.
    ///   - logger: Where debug messages go; nowhere by default.
    ///   - patience: How long a removal, over all its steps, goes on trying what others hold up; 30 seconds by default.
    ///   - migrationLogin: The login over which the files of tenants run; ``MigrationLogin/shortLived`` by default.
    public init(
        _ configuration: PostgresConfiguration, logger: Logger? = nil, patience: Duration = .seconds(30),
        migrationLogin: MigrationLogin = .shortLived
    ) {
        self.init(
            configuration, logger: logger, patience: patience, faults: .none, migrationLogin: migrationLogin)
    }

    package init(
        _ configuration: PostgresConfiguration, logger: Logger? = nil, patience: Duration = .seconds(30),
        faults: FaultPoints, migration: MigrationRunner.Configuration = MigrationRunner.Configuration(),
        migrationLogin: MigrationLogin = .shortLived
    ) {
        // Leases belong to a session, which a pooler shares out, or keeps when its client was killed.
        var direct = configuration
        direct.pooling = .none
        self.configuration = direct
        self.logger = logger ?? Logger(label: "cloacina.admin", factory: { _ in SwiftLogNoOpLogHandler() })
        self.patience = patience
        self.faults = faults
        self.migration = migration
        self.migrationLogin = migrationLogin
    }

    /// The session over which the files of one operation run; nothing is opened yet.
    nonisolated func makeMigrator() -> Migrator {
        Migrator(
            self.migrationLogin, self.configuration, logger: self.logger, connect: self.connector,
            remainder: self.remainder)
    }

    /// The logins that were made for tenants' files and could not be dropped: shut, and tried again by later operations.
    package nonisolated var remainingLogins: [(login: String, isShut: Bool)] { self.remainder.all }

    /// Lends what makes logins for files to an operation of several turns, and drops at its end those that are left.
    func withMigrator<R>(_ body: (Migrator) async throws -> R) async throws -> R {
        let migrator = self.makeMigrator()
        do {
            let result = try await body(migrator)
            await self.end(migrator)
            return result
        } catch {
            await self.end(migrator)
            throw error
        }
    }

    /// Drops the login of an operation that ended outside of its turn.
    private func end(_ migrator: Migrator) async {
        guard migrator.hasLogin else { return }
        // In a task of its own, awaited at once: cancellation must leave no login behind.
        let isEnded = await Task { (try? await self.withConnection { await migrator.end(on: $0) }) != nil }.value
        if !isEnded { migrator.noteRemainder() }
    }

    /// Closes the connection, if there is one. A later call opens another.
    public func close() async {
        await self.connection?.close()
        self.connection = nil
    }

    /// Where the administrator's connection leads; opens it if need be.
    public func endpoint() async throws -> PostgresEndpoint {
        try await self.withConnection { $0.endpoint }
    }

    /// All tenants, by name, whatever their state.
    public func tenants() async throws -> [Tenant] {
        try await self.withConnection { connection in
            try await connection.query(RegistryQueries.tenants).map(Tenant.init)
        }
    }

    /// One tenant.
    ///
    /// - Throws: ``AdminError`` with ``AdminError/Code/tenantNotFound``.
    public func tenant(named name: String) async throws -> Tenant {
        try await self.withConnection(tenant: name) { connection in
            guard let row = try await connection.query(RegistryQueries.tenant(named: name)).first else {
                throw AdminError.noTenant(name)
            }
            return try Tenant(row)
        }
    }

    /// Lends the administrator's own connection, for tests.
    package func withBackend<R>(_ body: (PostgresConnection) async throws -> R) async throws -> R {
        try await self.withConnection { try await body($0) }
    }

    /// Lends the connection to one operation at a time and puts its errors into our terms.
    func withConnection<R>(tenant: String? = nil, _ body: (PostgresConnection) async throws -> R) async throws -> R {
        do {
            return try await self.gate.withTurn {
                let connection = try await self.openConnection()
                do {
                    return try await body(connection)
                } catch {
                    if AdminError.isConnectionLoss(error) { await self.close() }
                    throw error
                }
            }
        } catch {
            throw AdminError(error, tenant: tenant)
        }
    }

    /// The connection, or another one when that was closed: a migration that left the session as somebody else had it closed.
    func openConnection() async throws -> PostgresConnection {
        if let connection, !connection.isClosed { return connection }
        let opened = try await Self.open(self.configuration, self.logger)
        self.connection = opened
        return opened
    }

    /// Whoever locks a table of the control schema is waited for no longer than this; changes set bounds of their own. The path, and
    /// whether sessions may write, are the database owner's until then, who may be a stranger.
    private static let settings = PostgresStatement(
        """
        SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false), pg_catalog.set_config('lock_timeout', '30s', false),
               pg_catalog.set_config('default_transaction_read_only', 'off', false)
        """)

    /// Opens a connection on which nothing that a tenant could create ever stands in for what we name.
    ///
    /// The time to connect is one for all of it: whoever locks a catalog holds up the first statement, for which the server has no
    /// bound yet.
    static func open(_ configuration: PostgresConfiguration, _ logger: Logger) async throws -> PostgresConnection {
        let deadline = RemovalPatience(configuration.connectTimeout).limit
        let opened = try await PostgresConnection.connect(configuration, logger: logger)
        do {
            try await opened.query(Self.settings, deadline: deadline)
            return opened
        } catch {
            await opened.close()
            throw error
        }
    }
}

extension AdminError {
    static func noTenant(_ name: String) -> AdminError {
        AdminError(.tenantNotFound, "there is no such tenant; `tenant list` shows them", tenant: name)
    }
}
