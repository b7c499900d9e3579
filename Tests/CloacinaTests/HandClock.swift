import Dispatch
import FoundationEssentials
import Synchronization

@testable import Cloacina

/// A clock that only a test moves, and the one thread of all that an engine starts: so a test can wait until nothing more
/// happens by itself.
///
/// A task that waits for a `Tally` or for this clock is not waited for; what tasks' code starts with `Task { … }` runs elsewhere.
final class HandClock: EngineClock, TaskExecutor {
    fileprivate struct Sleeper {
        let id: Int
        let due: Duration
        let continuation: CheckedContinuation<Void, any Error>
    }

    fileprivate struct State {
        var offset = Duration.zero
        /// By their times.
        var sleepers: [Sleeper] = []
        var lastID = 0
        /// How many jobs wait or run.
        var jobs = 0
        var settling: [CheckedContinuation<Void, Never>] = []
    }

    /// The date it shows at first.
    let start: Date
    private let queue = DispatchQueue(label: "hand clock")
    private let state = Mutex(State())

    init(at start: Date = Date(timeIntervalSince1970: 1_790_000_000)) { self.start = start }

    /// How many wait for the clock.
    var sleepers: Int { self.state.withLock { $0.sleepers.count } }

    /// The date that it shows, or will show, so many seconds after its beginning.
    func date(_ seconds: Double) -> Date { self.start.addingTimeInterval(seconds) }

    /// Returns when nothing more can happen until the clock moves, or the test lets somebody go on.
    func settle() async {
        await withCheckedContinuation { continuation in
            let isSettled = self.state.withLock { state in
                if state.jobs > 0 { state.settling.append(continuation) }
                return state.jobs == 0
            }
            if isSettled { continuation.resume() }
        }
    }

    /// Moves the clock on, waking whoever is due on the way one after the other, each when what the one before did is done.
    func advance(by duration: Duration) async {
        let end = self.state.withLock { $0.offset } + duration
        await self.settle()
        while let sleeper = self.state.withLock({ $0.next(until: end) }) {
            sleeper.continuation.resume()
            await self.settle()
        }
    }

    /// Does something where the engine works, so that ``settle()`` waits for it too, but not the test.
    @discardableResult
    func begin<R: Sendable>(_ body: @escaping @Sendable () async throws -> R) -> Task<R, any Error> {
        Task(executorPreference: self) { try await body() }
    }

    /// Makes a runner that goes by this clock.
    func runner(
        _ workflows: Workflow..., store: any WorkflowStore, _ change: (inout RunnerConfiguration) -> Void = { _ in }
    ) throws -> DefaultRunner {
        var configuration = RunnerConfiguration()
        change(&configuration)
        return try DefaultRunner(store: store, workflows: workflows, configuration: configuration, clock: self)
    }

    // MARK: The engine's view

    var executor: (any TaskExecutor)? { self }

    func now() -> Date { self.date(self.state.withLock { $0.offset }.seconds) }

    func sleep(for duration: Duration) async throws {
        let id = self.state.withLock { state in
            state.lastID += 1
            return state.lastID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                self.state.withLock { $0.add(id, duration, continuation) }?.resume()
                // Cancelled before there was anything to take away.
                if Task.isCancelled { self.cancel(id) }
            }
        } onCancel: {
            self.cancel(id)
        }
    }

    private func cancel(_ id: Int) {
        self.state.withLock { $0.remove(id) }?.continuation.resume(throwing: CancellationError())
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        self.state.withLock { $0.jobs += 1 }
        self.queue.async {
            unsafe job.runSynchronously(on: self.asUnownedTaskExecutor())
            for continuation in self.state.withLock({ $0.endJob() }) { continuation.resume() }
        }
    }
}

extension HandClock.State {
    /// Takes in who waits; hands back who need not.
    fileprivate mutating func add(
        _ id: Int, _ duration: Duration, _ continuation: CheckedContinuation<Void, any Error>
    ) -> CheckedContinuation<Void, any Error>? {
        guard duration > .zero else { return continuation }
        let sleeper = HandClock.Sleeper(id: id, due: self.offset + duration, continuation: continuation)
        self.sleepers.insert(sleeper, at: self.sleepers.firstIndex { $0.due > sleeper.due } ?? self.sleepers.endIndex)
        return nil
    }

    fileprivate mutating func remove(_ id: Int) -> HandClock.Sleeper? {
        self.sleepers.firstIndex { $0.id == id }.map { self.sleepers.remove(at: $0) }
    }

    /// Moves to whoever is due first, or to the end when nobody is due before.
    fileprivate mutating func next(until end: Duration) -> HandClock.Sleeper? {
        guard let first = self.sleepers.first, first.due <= end else {
            self.offset = end
            return nil
        }
        self.offset = max(self.offset, first.due)
        return self.sleepers.removeFirst()
    }

    /// Those who waited for the last job to end.
    fileprivate mutating func endJob() -> [CheckedContinuation<Void, Never>] {
        self.jobs -= 1
        guard self.jobs == 0 else { return [] }
        defer { self.settling = [] }
        return self.settling
    }
}
