import CloacinaWorkflow

/// The number of the task's code that runs.
enum TaskBody {
    @TaskLocal static var current: Int?
}

/// Somebody who waits for the clock.
@safe struct Sleeper {
    let id: Int
    let due: Duration
    /// The task's code that waits, if it is one's.
    let body: Int?
    let continuation: UnsafeContinuation<Void, any Error>
}

/// Somebody who moves the clock.
@safe struct Target {
    let offset: Duration
    let continuation: UnsafeContinuation<Void, Never>
}

/// Decides what happens next: no thread and no time, only jobs, sleepers and those who move the clock.
struct TestClockState {
    enum Step {
        case run(UnownedJob, Lane)
        case wake(Sleeper)
        case arrive(Target)
        case giveUp([@Sendable () -> Void])
        case rest
    }

    /// How often the clock moves by itself, although no task begins or ends, before that is held to be for ever.
    static let maximumIdleMoves = 100_000

    let movement: TestClock.Movement
    var offset = Duration.zero
    var jobs: [(UnownedJob, Lane)] = []
    /// By their times, and then in the order in which they came.
    var sleepers: [Sleeper] = []
    var targets: [Target] = []
    /// How often each task's code that runs waits, for the clock or for another pipeline.
    var bodies: [Int: Int] = [:]
    /// Who waits for a pipeline's end.
    var waiting: [Int: @Sendable () -> Void] = [:]
    var idleMoves = 0
    var isWorking = false
    /// Which process is the living one.
    var process = 1
    var jitter: SplitMix64
    private var order: SplitMix64?
    private var lastID = 0

    init(movement: TestClock.Movement, seed: UInt64?) {
        self.movement = movement
        self.jitter = SplitMix64(seed: seed ?? 0)
        self.order = seed.map { SplitMix64(seed: ~$0) }
    }

    mutating func makeID() -> Int {
        self.lastID += 1
        return self.lastID
    }

    mutating func next() -> Step {
        if !self.jobs.isEmpty {
            let (job, lane) = self.jobs.remove(at: self.nextIndex())
            return .run(job, lane)
        }
        if let target = self.targets.first {
            if let due = self.sleepers.first?.due, due <= target.offset { return self.wakeFirst() }
            self.offset = max(self.offset, target.offset)
            return .arrive(self.targets.removeFirst())
        }
        if self.movement == .whenIdle, !self.waiting.isEmpty, !self.sleepers.isEmpty,
            !self.bodies.values.contains(0)
        {
            self.idleMoves += 1
            if self.idleMoves < Self.maximumIdleMoves { return self.wakeFirst() }
            defer { self.waiting = [:] }
            return .giveUp(Array(self.waiting.values))
        }
        self.isWorking = false
        return .rest
    }

    private mutating func nextIndex() -> Int {
        guard var order = self.order else { return 0 }
        defer { self.order = order }
        return Int.random(in: self.jobs.indices, using: &order)
    }

    mutating func add(_ sleeper: Sleeper) {
        let index = self.sleepers.firstIndex { $0.due > sleeper.due } ?? self.sleepers.endIndex
        self.sleepers.insert(sleeper, at: index)
        if let body = sleeper.body { self.bodies[body]? += 1 }
    }

    mutating func add(_ target: Target) {
        let index = self.targets.firstIndex { $0.offset > target.offset } ?? self.targets.endIndex
        self.targets.insert(target, at: index)
    }

    mutating func removeSleeper(_ id: Int) -> Sleeper? {
        guard let index = self.sleepers.firstIndex(where: { $0.id == id }) else { return nil }
        return self.take(index)
    }

    /// What belongs to a dead process is not told so: it just never goes on.
    mutating func crash() {
        self.process += 1
        self.jobs = []
        self.sleepers = []
        self.bodies = [:]
        self.waiting = [:]
    }

    private mutating func wakeFirst() -> Step {
        let sleeper = self.take(0)
        self.offset = max(self.offset, sleeper.due)
        return .wake(sleeper)
    }

    private mutating func take(_ index: Int) -> Sleeper {
        let sleeper = self.sleepers.remove(at: index)
        if let body = sleeper.body { self.bodies[body]? -= 1 }
        return sleeper
    }
}
