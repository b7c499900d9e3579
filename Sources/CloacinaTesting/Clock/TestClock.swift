import Dispatch
public import FoundationEssentials
import Synchronization

/// A clock that only a test moves, so that a retry in an hour's time takes no time at all.
///
/// A ``TestRunner`` and the tasks' own code can share it: it is a `Clock` like any other, and
/// `try await clock.sleep(for: .seconds(3600))` inside a task waits for its hour.
///
/// By default it moves by itself, but only while a runner's `execute` waits and nothing else can happen: no code of the
/// engine's or a task's can go on, and every task that has begun waits for this clock. Then it jumps to the time that
/// somebody waits for first. A task that waits for anything else, such as a socket or `Task.sleep`, holds the clock still
/// until it has ended or waits for the clock as well; ``advance(by:)`` moves it even then.
///
/// Everything that a runner with this clock starts runs on one thread at a time, in an order that is the same each time: as
/// it became ready, or as the seed shuffles it. That is so as far as tasks wait only for this clock and for each other. What
/// comes from outside comes when it comes, and a task's `Task { … }` and actors with executors of their own run outside. The
/// ids of pipelines differ each time, and so does the order in which pipelines leave the queue that were put there at one
/// moment.
public final class TestClock: Clock {
    /// A moment, by the time since the clock was made.
    public struct Instant: InstantProtocol {
        /// How long after the clock's beginning it is.
        public let offset: Duration

        /// Makes a moment.
        public init(offset: Duration) { self.offset = offset }

        /// The moment a while after this one.
        public func advanced(by duration: Duration) -> Self { Self(offset: self.offset + duration) }

        /// How long it is from this moment to another.
        public func duration(to other: Self) -> Duration { other.offset - self.offset }

        /// Whether a moment is before another.
        public static func < (left: Self, right: Self) -> Bool { left.offset < right.offset }
    }

    /// What moves a clock.
    public enum Movement: Sendable, Hashable {
        /// ``TestClock/advance(by:)``, and the clock itself when nothing else can happen while a runner's `execute` waits.
        case whenIdle
        /// ``TestClock/advance(by:)`` and ``TestClock/advanceToNextSleeper()`` alone.
        case byHand
    }

    let state: Mutex<TestClockState>
    /// Where the work is done; only one block of it is ever there.
    private let queue = DispatchQueue(label: "cloacina.testing.clock")
    private let start: Date

    /// Makes a clock that stands still.
    ///
    /// - Parameters:
    ///   - start: The date it shows at first: the beginning of 2001, UTC.
    ///   - movement: What moves it: it moves by itself when nothing else can happen.
    ///   - seed: Shuffles the order of what could go on at the same time, and decides the jitter of retries, always alike for
    ///     the same seed. Without one, what becomes ready first goes on first, and the jitter is that of seed 0.
    public init(
        startingAt start: Date = Date(timeIntervalSinceReferenceDate: 0), moving movement: Movement = .whenIdle,
        seed: UInt64? = nil
    ) {
        self.start = start
        self.state = Mutex(TestClockState(movement: movement, seed: seed))
    }

    /// The time.
    public var now: Instant { Instant(offset: self.state.withLock { $0.offset }) }

    /// The time as a date.
    public var date: Date {
        let (seconds, attoseconds) = self.now.offset.components
        return self.start.addingTimeInterval(Double(seconds) + Double(attoseconds) / 1e18)
    }

    /// The smallest step: a nanosecond.
    public var minimumResolution: Duration { .nanoseconds(1) }

    /// Waits until the clock has been moved to a time; not at all when it is there already.
    ///
    /// - Throws: `CancellationError` when the task is cancelled.
    public func sleep(until deadline: Instant, tolerance: Duration? = nil) async throws {
        let id = self.state.withLock { $0.makeID() }
        let body = TaskBody.current
        try await withTaskCancellationHandler {
            try await unsafe withUnsafeThrowingContinuation { (continuation: UnsafeContinuation<Void, any Error>) in
                let answer = self.state.withLock { state -> Result<Void, any Error>? in
                    if Task.isCancelled { return .failure(CancellationError()) }
                    if deadline.offset <= state.offset { return .success(()) }
                    state.add(unsafe Sleeper(id: id, due: deadline.offset, body: body, continuation: continuation))
                    return nil
                }
                if let answer { unsafe continuation.resume(with: answer) } else { self.kick() }
            }
        } onCancel: {
            let sleeper = self.state.withLock { $0.removeSleeper(id) }
            unsafe sleeper?.continuation.resume(throwing: CancellationError())
        }
    }

    /// Moves the clock on, waking whoever is due on the way in the order of their times, and between two of them letting
    /// everything happen that can.
    ///
    /// Returns when the clock is there and nothing else can go on without it; a task that waits for something outside is not
    /// waited for. Zero is a way to wait for that alone.
    public func advance(by duration: Duration) async {
        await self.move(to: self.now.offset + duration)
    }

    /// Moves the clock on to the time that somebody waits for first, and lets everything happen that can.
    ///
    /// - Returns: False when nobody waits for the clock; it stands still then.
    @discardableResult
    public func advanceToNextSleeper() async -> Bool {
        await self.advance(by: .zero)
        guard let due = self.state.withLock({ $0.sleepers.first?.due }) else { return false }
        await self.move(to: due)
        return true
    }

    private func move(to offset: Duration) async {
        await unsafe withUnsafeContinuation { (continuation: UnsafeContinuation<Void, Never>) in
            self.state.withLock { $0.add(unsafe Target(offset: offset, continuation: continuation)) }
            self.kick()
        }
    }
}

// MARK: Work

extension TestClock {
    /// Takes a job in, if its process lives.
    func enqueue(_ job: UnownedJob, on lane: Lane) {
        self.state.withLock { state in
            if lane.process == state.process { state.jobs.append((job, lane)) }
        }
        self.kick()
    }

    /// Sees to it that somebody looks what can be done.
    func kick() {
        let mustStart = self.state.withLock { state in
            defer { state.isWorking = true }
            return !state.isWorking
        }
        if mustStart { self.queue.async { self.work() } }
    }

    private func work() {
        while true {
            switch self.state.withLock({ $0.next() }) {
            case .run(let job, let lane): unsafe job.runSynchronously(on: lane.asUnownedTaskExecutor())
            case .wake(let sleeper): unsafe sleeper.continuation.resume()
            case .arrive(let target): unsafe target.continuation.resume()
            case .giveUp(let waiting): for tell in waiting { tell() }
            case .rest: return
            }
        }
    }

    /// Says that somebody waits for the end of a pipeline, so that the clock may move by itself. Called on the lane, so that
    /// it doesn't move before that somebody has begun.
    ///
    /// - Parameter stalled: Is told when the clock has moved very far and no task has begun or ended.
    func beginWaiting(stalled: @escaping @Sendable () -> Void) -> Int {
        self.state.withLock { state in
            let id = state.makeID()
            state.waiting[id] = stalled
            state.idleMoves = 0
            return id
        }
    }

    func endWaiting(_ id: Int) { self.state.withLock { $0.waiting[id] = nil } }

    /// Runs a task's code, or a handler, during which the clock stands still unless that waits for it.
    func watching<R>(_ body: () async throws -> R) async rethrows -> R {
        let id = self.state.withLock { state in
            state.idleMoves = 0
            let id = state.makeID()
            state.bodies[id] = 0
            return id
        }
        defer {
            self.state.withLock { state in
                state.idleMoves = 0
                state.bodies[id] = nil
            }
            self.kick()
        }
        return try await TaskBody.$current.withValue(id) { try await body() }
    }

    /// Runs a part of a task's code that only waits for another pipeline: the clock needs not stand still for that.
    func whileWaiting<R>(_ body: () async -> R) async -> R {
        guard let id = TaskBody.current else { return await body() }
        self.state.withLock { $0.bodies[id]? += 1 }
        self.kick()
        defer { self.state.withLock { $0.bodies[id]? -= 1 } }
        return await body()
    }

    func random() -> UInt64 { self.state.withLock { $0.jitter.next() } }

    /// Ends the process that everything belongs to: nothing of it ever goes on.
    func crash() {
        self.state.withLock { $0.crash() }
        self.kick()
    }

    /// Where the work of the living process is done.
    func makeLane() -> Lane { Lane(self, process: self.state.withLock { $0.process }) }
}
