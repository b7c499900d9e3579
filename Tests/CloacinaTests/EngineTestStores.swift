import FoundationEssentials
import Synchronization
import TestSupport

@testable import Cloacina

/// A store that counts how often a runner says that it lives, and may keep that to itself.
final class BeatingStore: ForwardingWorkflowStore {
    let underlying: any WorkflowStore
    /// The answered heartbeats.
    let beats = Tally()
    private let isMute = Mutex(false)

    init(_ store: any WorkflowStore) { self.underlying = store }

    /// From now on nobody hears the runner.
    func mute() { self.isMute.withLock { $0 = true } }

    func beat(
        _ runner: UUID, number: Int, pipelines: [UUID], isStopping: Bool, at: Date
    ) async throws(PipelineError) -> BeatAnswer {
        defer { self.beats.add() }
        guard !self.isMute.withLock({ $0 }) else { return BeatAnswer(held: Set(pipelines)) }
        return try await self.underlying.beat(
            runner, number: number, pipelines: pipelines, isStopping: isStopping, at: at)
    }
}

/// A clock whose time a test sets, and that tells when somebody begins to wait for a certain while.
final class WatchedClock: EngineClock {
    private let date: Mutex<Date>
    private let watched: Duration
    /// How often somebody has begun to wait for the watched while.
    let waits = Tally()

    init(watching duration: Duration = .zero, at date: Date = Date(timeIntervalSince1970: 1_790_000_000)) {
        self.watched = duration
        self.date = Mutex(date)
    }

    func now() -> Date { self.date.withLock { $0 } }

    func move(by seconds: Double) { self.date.withLock { $0 = $0.addingTimeInterval(seconds) } }

    func sleep(for duration: Duration) async throws {
        if duration == self.watched { self.waits.add() }
        try await ContinuousClock().sleep(for: duration)
    }
}
