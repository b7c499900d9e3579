import CloacinaPostgres
import Logging
import Synchronization

/// The sessions over which one operation runs the files of tenants, each under a login of its own: ``MigrationLogin/shortLived``.
///
/// A login is made for one tenant's turn, may act as that tenant's owner, and is dropped after it. It serves no other tenant,
/// whatever the turn left: code that a file made as the login may still run in somebody else's session, where nothing tells of it,
/// and would be a member of the next tenant's owner. What a killed process leaves is dropped by ``sweep(on:logger:)``.
final class Migrator: Sendable {
    private let login: MigrationLogin
    private let configuration: PostgresConfiguration
    private let logger: Logger
    private let connect: RemovalSession.Connect
    private let remainder: RemainingLogins
    /// Logins that were made, or may have been, and are not known to be gone.
    private let roles = Mutex<[String]>([])

    /// The number of attempts to change what others change at the same moment.
    static let attempts = 5

    init(
        _ login: MigrationLogin, _ configuration: PostgresConfiguration, logger: Logger,
        connect: @escaping RemovalSession.Connect, remainder: RemainingLogins
    ) {
        self.login = login
        self.configuration = configuration
        self.connect = connect
        self.remainder = remainder
        self.logger = logger
    }

    /// True while a login has to be dropped.
    var hasLogin: Bool { self.roles.withLock { !$0.isEmpty } }

    /// Lends a session that may act as a tenant's owner until the closure returns, under a login that no other tenant meets.
    ///
    /// - Parameter administrator: The administrator's session, which nothing else uses meanwhile. It is what is lent with
    ///   ``MigrationLogin/administrator``.
    /// - Throws: What the closure throws, or ``AdminError`` with ``AdminError/Code/loginRefused``.
    func withSession<R>(
        as owner: String, of tenant: String, on administrator: PostgresConnection,
        _ body: (PostgresConnection) async throws -> R
    ) async throws -> R {
        guard self.login == .shortLived else { return try await body(administrator) }
        let (role, session) = try await self.open(for: tenant, on: administrator)
        let result: R
        do {
            try await Self.admit(role, to: owner, of: tenant, on: administrator)
            result = try await body(session)
        } catch {
            await self.leave(role, of: tenant, session, on: administrator)
            throw error
        }
        await self.leave(role, of: tenant, session, on: administrator)
        return result
    }

    /// Drops the logins that could not be dropped after their turns, in a cancelled task too.
    func end(on administrator: PostgresConnection) async {
        // In a task of its own, awaited at once: cancellation must leave no login behind.
        await Task {
            for role in self.roles.withLock({ $0 }) {
                await self.drop(role, of: nil, on: administrator, isGuarded: false)
            }
        }.value
        self.noteRemainder()
    }

    /// Tells of the logins that are not known to be gone.
    func noteRemainder() { for role in self.roles.withLock({ $0 }) { self.remainder.note(role, isShut: false) } }

    // MARK: The login

    private func open(
        for tenant: String, on administrator: PostgresConnection
    ) async throws -> (String, PostgresConnection) {
        let role = try MigratorSQL.name()
        self.roles.withLock { $0.append(role) }
        do {
            let session = try await self.make(role, for: tenant, on: administrator)
            self.logger.debug("login made for migrations", metadata: ["cloacina.role": "\(role)"])
            return (role, session)
        } catch {
            await Task { await self.drop(role, of: nil, on: administrator, isGuarded: false) }.value
            throw error
        }
    }

    private func make(
        _ role: String, for tenant: String, on administrator: PostgresConnection
    ) async throws -> PostgresConnection {
        let (database, version) = (administrator.endpoint.database, administrator.serverVersion)
        let row = try await administrator.query(MigratorSQL.survey)[0]
        let (mark, until): (String, String) = (try row.value("mark"), try row.value("until"))
        let password = try SecureRandom.password()
        // 256 random bits can't be guessed however fast a guess is, and both sides would stretch them for each tenant.
        let verifier = try SCRAM.verifier(password: password, iterations: 1)
        let watcher = RemovalSession.watcher(
            of: tenant, on: administrator, registry: administrator, connect: self.connect)
        try await watcher.unblocked { wait in
            try await Self.patiently {
                try await administrator.pipeline(
                    MigratorSQL.creation(role, mark: mark, until: until, database: database, wait: wait))
            }
        }
        try await administrator.pipeline(
            [RegistryQueries.commitWithoutWaiting]
                + PasswordSQL.statements(login: role, verifier: verifier, serverVersion: version))
        var configuration = self.configuration
        configuration.user = role
        configuration.password = password
        configuration.applicationName = "cloacina-migrator"
        let deadline = RemovalPatience(configuration.connectTimeout).limit
        let session: PostgresConnection
        do {
            session = try await PostgresConnection.connect(configuration, logger: self.logger)
        } catch {
            throw Self.refusal(error, of: role, at: administrator.endpoint)
        }
        do {
            guard try await session.query(MigratorSQL.enter(role), deadline: deadline).single(as: Bool.self) else {
                throw Self.refusal(nil, of: role, at: administrator.endpoint)
            }
            return session
        } catch {
            await session.close()
            throw error
        }
    }

    /// The way out of a server that doesn't let the login in; other failures to connect stay what they are.
    private static func refusal(
        _ error: PostgresError?, of role: String, at endpoint: PostgresEndpoint
    ) -> any Error {
        if let error {
            guard [.connectionFailed, .poolerUnsupported].contains(error.code) else { return error }
            // Busy, or shutting down: no matter of who logs in.
            if let state = error.sqlState, ["53", "57"].contains(state.prefix(2)) { return error }
        }
        let database = PostgresIdentifier.quote(endpoint.database)
        let kind = endpoint.host.isEmpty || endpoint.host.hasPrefix("/") ? "local" : "host"
        let address = kind == "local" ? "" : " ADDRESS"
        return AdminError(
            .loginRefused,
            "the server doesn't let in \(role), a login made for one tenant over which the files of tenants run; no "
                + "file was run over it, and it is dropped again. Let such logins in: in pg_hba.conf, above the line that "
                + "refuses them, `\(kind) \(database) /^\(MigratorSQL.prefix)\(address) scram-sha-256` (before PostgreSQL 16 "
                + "`all` instead of the pattern), then SELECT pg_reload_conf(); with a pooler in between, connect to the server "
                + "itself. Where that can't be, run the same command with --files-as-administrator "
                + "(`migrationLogin: .administrator` in code): files then run with the administrator's rights",
            underlying: error)
    }

    // MARK: The turn and its end

    private static func admit(
        _ role: String, to owner: String, of tenant: String, on administrator: PostgresConnection
    ) async throws {
        do {
            try await Self.patiently {
                try await administrator.pipeline(
                    MigratorSQL.admit(role, to: owner, serverVersion: administrator.serverVersion))
            }
        } catch let error as PostgresError where error.sqlState == "42501" {
            // What is missing after a restore, with the statement that gives it.
            try await AdminOption.check([owner], of: tenant, on: administrator)
            throw error
        }
    }

    /// Ends what the turn left on the session, such as locks, and drops the login.
    private func leave(
        _ role: String, of tenant: String, _ session: PostgresConnection, on administrator: PostgresConnection
    ) async {
        // In a task of its own, awaited at once: cancellation must leave no login behind.
        await Task {
            // An open session keeps its place: nobody else gets it while the login is still there. One that was closed, such as after
            // a cancel that the server didn't heed, may still work there, or have made place for somebody else.
            var isGuarded = !session.isClosed
            if isGuarded {
                do { try await session.discardAll() } catch { isGuarded = false }
            }
            await self.drop(role, of: tenant, on: administrator, isGuarded: isGuarded)
            await session.close()
        }.value
    }

    private func drop(
        _ role: String, of tenant: String?, on administrator: PostgresConnection, isGuarded: Bool
    ) async {
        let removal = self.removal(of: role, tenant: tenant, on: administrator)
        switch await removal.run(isGuarded: isGuarded) {
        case .gone: break
        // Once more at the operation's end, when it is not shut.
        case .left(isShut: false): return
        case .left(isShut: true): self.remainder.note(role, isShut: true)
        }
        self.roles.withLock { roles in roles.removeAll { $0 == role } }
    }

    /// Drops what processes left that were killed, which happens to be seen now; see ``MigratorSQL/leftovers(serverVersion:)``.
    ///
    /// Nothing depends on it, so what goes wrong is left to the next operation.
    func sweep(on administrator: PostgresConnection) async {
        let end = ContinuousClock.now.advanced(by: Self.timeOfASweep)
        let query = MigratorSQL.leftovers(serverVersion: administrator.serverVersion)
        guard let rows = try? await administrator.query(query), let roles: [String] = try? rows.column("role") else {
            return
        }
        for role in roles {
            guard .now < end else { return }
            let removal = self.removal(of: role, tenant: nil, on: administrator)
            if case .left(let isShut) = await removal.run(isGuarded: false) {
                self.remainder.note(role, isShut: isShut)
            }
        }
    }

    private func removal(of role: String, tenant: String?, on administrator: PostgresConnection) -> MigratorRemoval {
        MigratorRemoval(
            role: role, tenant: tenant, administrator: administrator, connect: self.connect, logger: self.logger)
    }

    /// The longest time that an operation spends on what others left, before its own work; the rest is left to later ones.
    private static let timeOfASweep: Duration = .seconds(5)

    /// Makes a change again that met another one of the same row of the catalogs, or a deadlock.
    @discardableResult
    static func patiently<R>(_ change: () async throws -> R) async throws -> R {
        for _ in 1..<Self.attempts {
            do {
                return try await change()
            } catch let error as PostgresError {
                guard ["XX000", "40P01", "23505"].contains(error.sqlState) else { throw error }
            }
        }
        return try await change()
    }
}

/// The logins for files that an administrator's operations could not drop.
final class RemainingLogins: Sendable {
    private let logins = Mutex<[String: Bool]>([:])

    /// Each login, and true when nobody can log in by it and it has no session.
    var all: [(login: String, isShut: Bool)] {
        self.logins.withLock { $0.sorted { $0.key < $1.key }.map { (login: $0.key, isShut: $0.value) } }
    }

    func note(_ login: String, isShut: Bool) { self.logins.withLock { $0[login] = isShut } }
}
