import CloacinaPostgres
import FoundationEssentials
import Synchronization

/// The state of the connection by which a group hears of other processes' calls.
final class ListenerWatch: Sendable {
    private struct State {
        /// The instant since which nothing is heard; nil while the listener is connected.
        var deafSince: ContinuousClock.Instant?
        var error: (any Error)?
    }

    private let monotonic: @Sendable () -> ContinuousClock.Instant
    private let state: Mutex<State>

    init(monotonic: @escaping @Sendable () -> ContinuousClock.Instant = { .now }) {
        self.monotonic = monotonic
        self.state = Mutex(State(deafSince: monotonic()))
    }

    /// The time for which nothing has been heard, and the reason; nil while the listener is connected.
    var outage: (duration: Duration, error: (any Error)?)? {
        let now = self.monotonic()
        return self.state.withLock { state in state.deafSince.map { ($0.duration(to: now), state.error) } }
    }

    /// True when a server that takes no writes has refused to let the group listen.
    var isReadOnly: Bool {
        self.state.withLock { ($0.error as? PostgresError)?.sqlState == PipelineError.readOnlyState }
    }

    /// Takes note that the group begins to listen.
    func begin() {
        let now = self.monotonic()
        self.state.withLock { $0 = State(deafSince: now) }
    }

    /// Takes note that calls are heard.
    func connected() { self.state.withLock { $0 = State() } }

    /// Takes note that they are no more, or still not.
    ///
    /// - Parameter error: Why the connection ended or none was to be had; the one before stays when nil.
    func disconnected(_ error: (any Error)?) {
        let now = self.monotonic()
        self.state.withLock { state in
            state.deafSince = state.deafSince ?? now
            state.error = error ?? state.error
        }
    }
}

/// The memory of a database's last refusal to take any write at all.
final class RefusalWatch: Sendable {
    private let clock: any EngineClock
    private let refusedAt = Mutex<Date?>(nil)

    init(_ clock: any EngineClock) { self.clock = clock }

    /// Takes note of what came of a write.
    func note(_ error: PipelineError?) {
        guard let error else { return self.refusedAt.withLock { $0 = nil } }
        guard error.isReadOnly else { return }
        let now = self.clock.now()
        self.refusedAt.withLock { $0 = now }
    }

    /// True when that was no longer ago than a limit, and nothing was written since.
    func isReadOnly(at now: Date, for limit: Duration) -> Bool {
        self.refusedAt.withLock { $0 }.map { now.timeIntervalSince($0) <= limit.seconds } ?? false
    }
}

extension PipelineError {
    /// The SQLSTATE of a server that takes no writes.
    static let readOnlyState = "25006"

    /// True when the database takes no writes at all.
    var isReadOnly: Bool {
        switch self.underlying {
        case let error as PostgresError: error.sqlState == Self.readOnlyState
        case let error as SQLiteError: error.code == .readOnly
        default: false
        }
    }
}
