import Synchronization

/// Finds out what a pooler does with sessions.
///
/// Its process id gives a pooler away, its mode does not. So two connections ask for their backends in turn: a pooler
/// that hands sessions on gives the one that was free last to whoever comes next. If it hides that, nothing is lost but
/// an error: each flush asserts that the backend is still the same before anything else runs.
enum PoolerProbe {
    private struct Key: Hashable {
        let host: String
        let port: Int
        let database: String
        let user: String
    }

    private struct Finding {
        let mode: PoolerMode
        let at: ContinuousClock.Instant
    }

    private static let findings = Mutex<[Key: Finding]>([:])
    private static let gate = SerialGate()
    /// How often both connections are asked.
    private static var rounds: Int { 4 }
    /// How long a finding counts; somebody may change the pooler's settings.
    private static var validity: Duration { .seconds(60) }
    /// How long the second connection may take: where each session belongs to one client, there may be none left.
    private static var patience: Duration { .seconds(1) }

    /// Decides what a new connection leads through.
    static func mode(
        of connection: PostgresConnection, inventedPID: Bool, _ configuration: PostgresConfiguration
    ) async throws(PostgresError) -> PoolerMode {
        guard inventedPID else { return .direct }
        switch configuration.pooling.base {
        case .session: return .session
        case .transaction: return .shared
        case .none:
            throw PostgresError(
                .poolerUnsupported,
                advice: "a pooler stands in between, and the configuration says that there is none; see PostgresPooling"
            )
        case .detect: break
        }
        let key = Self.key(connection.endpoint)
        if let known = Self.known(key) { return known }
        do {
            return try await Self.gate.withTurn {
                if let known = Self.known(key) { return known }
                let mode = try await Self.examine(connection, configuration)
                Self.note(mode, key)
                return mode
            }
        } catch {
            throw error as? PostgresError ?? PostgresError(.cancelled, advice: "cancelled while connecting")
        }
    }

    /// Notes that a session was handed on although nothing had shown that.
    static func noteShared(_ endpoint: PostgresEndpoint) { Self.note(.shared, Self.key(endpoint)) }

    /// Whether backends seen in turn, each list by one of two clients, tell of a session that was handed on.
    static func isShared(own: [Int32], other: [Int32]) -> Bool {
        Set(own).count > 1 || Set(other).count > 1 || !Set(own).isDisjoint(with: other)
    }

    private static func examine(
        _ connection: PostgresConnection, _ configuration: PostgresConfiguration
    ) async throws -> PoolerMode {
        var second = configuration
        second.pooling = .session
        second.connectTimeout = min(configuration.connectTimeout, Self.patience)
        let other: PostgresConnection
        do {
            other = try await PostgresConnection.connect(second)
        } catch {
            if error.code == .cancelled { throw error }
            return .session  // no session is left for another client
        }
        do {
            var own = [connection.backendPID]
            var others = [other.backendPID]
            for _ in 0..<Self.rounds where !Self.isShared(own: own, other: others) {
                own.append(try await Self.backend(of: connection))
                others.append(try await Self.backend(of: other))
            }
            await other.close()
            return Self.isShared(own: own, other: others) ? .shared : .session
        } catch {
            await other.close()
            throw error
        }
    }

    private static func backend(of connection: PostgresConnection) async throws(PostgresError) -> Int32 {
        let statement = PostgresStatement(trusted: "SELECT pg_catalog.pg_backend_pid()", prepared: false)
        return try await connection.query(statement, deadline: .fromNow(.seconds(10))).single()
    }

    private static func key(_ endpoint: PostgresEndpoint) -> Key {
        Key(host: endpoint.host, port: endpoint.port, database: endpoint.database, user: endpoint.user)
    }

    private static func known(_ key: Key) -> PoolerMode? {
        self.findings.withLock { findings in
            guard let finding = findings[key] else { return nil }
            guard finding.at.duration(to: .now) < Self.validity else {
                findings[key] = nil
                return nil
            }
            return finding.mode
        }
    }

    private static func note(_ mode: PoolerMode, _ key: Key) {
        self.findings.withLock { $0[key] = Finding(mode: mode, at: .now) }
    }
}
