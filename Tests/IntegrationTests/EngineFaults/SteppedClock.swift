import FoundationEssentials
import Synchronization

@testable import Cloacina

/// A computer's two clocks, in a test's hand: one that counts time, which is what waiting goes by, and one that shows the
/// date, which an operator may put forward or back. As the system's, what it shows never goes back.
final class SteppedClock: EngineClock {
    private struct Sleeper {
        let duration: Duration
        let due: Duration
        let gate: Gate
    }

    private struct State {
        var elapsed: Duration = .zero
        /// Whole seconds, so that sums are exact.
        var date = Date(timeIntervalSinceReferenceDate: 800_000_000)
        var latest = Date.distantPast
        var sleepers: [UInt64: Sleeper] = [:]
        var lastSleeper: UInt64 = 0
    }
    private let state = Mutex(State())

    func now() -> Date {
        self.state.withLock { state in
            state.latest = max(state.latest, state.date)
            return state.latest
        }
    }

    /// Puts the date forward or back; no time passes.
    func step(by seconds: TimeInterval) {
        self.state.withLock { $0.date = $0.date.addingTimeInterval(seconds) }
    }

    /// Lets time pass, and wakes whoever has waited long enough.
    func advance(by duration: Duration) {
        let due = self.state.withLock { state in
            state.elapsed += duration
            state.date = state.date.addingTimeInterval(duration.seconds)
            let due = state.sleepers.filter { $0.value.due <= state.elapsed }
            for id in due.keys { state.sleepers[id] = nil }
            return due.values.sorted { $0.due < $1.due }
        }
        for sleeper in due { sleeper.gate.open() }
    }

    /// Waits until so many are waiting for a time of this length.
    func sleepers(_ count: Int, for duration: Duration) async {
        while self.state.withLock({ $0.sleepers.values.count { $0.duration == duration } }) < count {
            await Task.yield()
        }
    }

    func sleep(for duration: Duration) async throws {
        let gate = Gate()
        let id = self.state.withLock { state -> UInt64? in
            guard duration > .zero else { return nil }
            state.lastSleeper += 1
            state.sleepers[state.lastSleeper] = Sleeper(
                duration: duration, due: state.elapsed + duration, gate: gate)
            return state.lastSleeper
        }
        guard let id else { return }
        await withTaskCancellationHandler {
            await gate.wait()
        } onCancel: {
            self.state.withLock { $0.sleepers[id] = nil }
            gate.open()
        }
        try Task.checkCancellation()
    }
}
