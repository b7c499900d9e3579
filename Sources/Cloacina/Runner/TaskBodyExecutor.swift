import DequeModule
import FoundationEssentials
import Glibc
import Synchronization

/// Runs the bodies of a runner's tasks on threads of its own, so that code that computes or blocks delays neither the engine's
/// loops, timers and heartbeats nor other runners; and, through ``steps``, the engine's short steps between two bodies, so that
/// what follows a body finds a thread that is awake.
///
/// There are no threads while there is nothing to run: they start with the first job, at most as many as the machine has
/// cores, and end after ``idleDuration`` without one. More work only when jobs wait although those threads have been busy
/// with the same job for ``patience``, and only until those get on: a body that never suspends costs a thread, and no other body
/// its turn. Steps go first, and find a thread even when bodies have taken ``maximumThreads``; jobs of one kind run first in,
/// first out.
///
/// A thread that waits for work keeps the executor alive, for ``idleDuration`` at most.
final class TaskBodyExecutor: TaskExecutor {
    /// How long jobs wait for threads that are stuck before another thread starts.
    static let patience: Duration = .milliseconds(5)
    /// How long a thread without work stays.
    static let idleDuration: Duration = .seconds(2)
    /// The most threads that an executor has, whatever it is asked for.
    static let threadLimit = 64

    /// How often a thread lets others run, and looks again for a job, before it waits to be woken: a job comes in most often
    /// just after another has ended, and waking a thread costs more than a small task.
    private static let maximumYields = 10

    /// How many jobs wake another thread at once although one has only just taken one and most probably comes back in a
    /// moment.
    private static let backlog = 2
    /// How long after a thread took a job that is so.
    private static let hotNanoseconds = 100_000

    private struct State {
        /// The steps that wait, each with what it runs on.
        var steps: Deque<Step> = []
        var bodies: Deque<UnownedJob> = []
        /// The number of threads that run a body.
        var runningBodies = 0
        var workers: [Worker] = []
        /// The workers without work; the last to come is the first to go.
        var parked: [Worker] = []
        /// The number of workers that two looks of the monitor's found with the same job.
        var stuck = 0
        /// How many workers were started or woken and have not looked for a job since. Each wakes the next when it takes one.
        var arriving = 0
        /// When a worker last took a job, on the monotonic clock.
        var lastTaken = 0
        /// When the monitor last looked.
        var lastLook = 0
        var isWatched = false
        var isRetired = false
    }

    /// A thread, with what the lock of its executor protects.
    private final class Worker: @unchecked Sendable {
        let parking = Parking()
        /// How many jobs it has taken. Protected by the executor's lock, as is what follows.
        var taken = 0
        /// How many it had taken when the monitor last looked.
        var seen = 0
        /// True once the monitor found it with the same job twice.
        var isStuck = false
    }

    private struct Step {
        let job: UnownedJob
        let executor: StepExecutor
    }

    /// What the thread that changed the state has to do once it has left the lock.
    private enum Action {
        case nothing
        case wake(Worker)
        case start(Worker)
        case watch
    }

    /// The most threads that run bodies at a time.
    let maximumThreads: Int
    /// How many threads start without anybody having waited.
    private let eagerThreads: Int
    private let state = Mutex(State())

    /// The time between two looks of the monitor's, which tell who is stuck.
    private let patience: Duration

    /// - Parameters:
    ///   - maximumThreads: The most threads at a time, held between 1 and ``threadLimit``.
    ///   - patience: How long jobs wait for threads that are stuck; the monitor looks no more often than by default.
    init(maximumThreads: Int, patience: Duration = TaskBodyExecutor.patience) {
        self.patience = patience
        self.maximumThreads = min(max(1, maximumThreads), Self.threadLimit)
        self.eagerThreads = min(self.maximumThreads, Self.cores)
    }

    private static let cores = max(1, ProcessInfo.processInfo.activeProcessorCount)

    /// How many threads there are at the moment.
    var threadCount: Int { self.state.withLock { $0.workers.count } }

    /// The executor of the engine's steps on the same threads: short ones, that never block.
    var steps: StepExecutor { StepExecutor(threads: self) }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        self.take(
            self.state.withLock { state in
                state.bodies.append(job)
                return self.nextAction(&state)
            })
    }

    fileprivate func enqueue(_ job: UnownedJob, on executor: StepExecutor) {
        self.take(
            self.state.withLock { state in
                state.steps.append(Step(job: job, executor: executor))
                return self.nextAction(&state)
            })
    }

    /// Lets threads without work end at once, now and from now on. What is enqueued still runs.
    func retire() {
        let parked = self.state.withLock { state in
            state.isRetired = true
            defer { state.parked = [] }
            state.arriving += state.parked.count
            return state.parked
        }
        for worker in parked { worker.parking.wake() }
    }

    /// The number of waiting jobs that a thread could take.
    private func waitingCount(_ state: State) -> Int {
        state.steps.count + min(state.bodies.count, max(0, self.maximumThreads - state.runningBodies))
    }

    /// True when there may be one more thread. Where bodies have all that they may have, steps get others.
    private func canGrow(_ state: State) -> Bool {
        let limit = state.steps.isEmpty ? self.maximumThreads : self.maximumThreads + self.eagerThreads
        return !state.parked.isEmpty || state.workers.count < limit
    }

    /// The number of threads that take jobs, or will in a moment.
    private func activeCount(_ state: State) -> Int { state.workers.count - state.parked.count - state.stuck }

    /// Finds a thread for the jobs that wait, one thread at a time.
    private func nextAction(_ state: inout State) -> Action {
        let waiting = self.waitingCount(state)
        guard waiting > 0, state.arriving == 0 else { return .nothing }
        let isHot =
            waiting < Self.backlog && state.parked.count < state.workers.count
            && SystemThread.now - state.lastTaken < Self.hotNanoseconds
        if !isHot, self.activeCount(state) < self.eagerThreads, let worker = state.parked.popLast() {
            state.arriving += 1
            return .wake(worker)
        }
        if !isHot, state.workers.count < self.eagerThreads { return .start(self.addWorker(&state)) }
        guard !state.isWatched, self.canGrow(state) else { return .nothing }
        state.isWatched = true
        return .watch
    }

    private func addWorker(_ state: inout State) -> Worker {
        let worker = Worker()
        state.workers.append(worker)
        state.arriving += 1
        return worker
    }

    private func take(_ action: Action) {
        switch action {
        case .nothing: break
        case .wake(let worker): worker.parking.wake()
        case .start(let worker):
            if !SystemThread.start(name: "cloacina-task", { self.run(worker) }) { self.giveUp(worker) }
        case .watch:
            if !TaskBodyMonitor.shared.watch(self) { self.state.withLock { $0.isWatched = false } }
        }
    }

    /// Does without a thread that the system doesn't have. When there is no other, the global pool runs what waits.
    private func giveUp(_ worker: Worker) {
        let stranded = self.state.withLock { state -> [UnownedJob] in
            state.workers.removeAll { $0 === worker }
            state.arriving -= 1
            if worker.isStuck { state.stuck -= 1 }
            guard state.workers.isEmpty else { return [] }
            defer { (state.steps, state.bodies) = ([], []) }
            return state.steps.map(\.job) + state.bodies
        }
        for job in stranded { globalConcurrentExecutor.enqueue(job) }
    }

    // MARK: A thread's work

    private func run(_ worker: Worker) {
        var isArriving = true
        var hasRunBody = false
        var yields = 0
        while true {
            enum Next { case step(Step, Action), body(UnownedJob, Action), yield, park(Action), end }
            let next: Next = self.state.withLock { state in
                if isArriving { state.arriving -= 1 }
                if hasRunBody { state.runningBodies -= 1 }
                if worker.isStuck {
                    worker.isStuck = false
                    state.stuck -= 1
                }
                // Those in whose place it came get on by now, and more threads than cores only take turns.
                if self.activeCount(state) > self.eagerThreads, !state.isRetired {
                    state.parked.append(worker)
                    return .park(self.nextAction(&state))
                }
                if let step = state.steps.popFirst() {
                    self.noteTaken(by: worker, &state)
                    return .step(step, self.nextAction(&state))
                }
                if state.runningBodies < self.maximumThreads, let job = state.bodies.popFirst() {
                    state.runningBodies += 1
                    self.noteTaken(by: worker, &state)
                    return .body(job, self.nextAction(&state))
                }
                if state.isRetired {
                    state.workers.removeAll { $0 === worker }
                    return .end
                }
                if yields < Self.maximumYields, state.arriving == 0 {
                    state.arriving += 1
                    return .yield
                }
                state.parked.append(worker)
                return .park(.nothing)
            }
            (isArriving, hasRunBody) = (false, false)
            switch next {
            case .step(let step, let action):
                yields = 0
                self.take(action)
                unsafe step.job.runSynchronously(on: step.executor.asUnownedTaskExecutor())
            case .body(let job, let action):
                (yields, hasRunBody) = (0, true)
                self.take(action)
                unsafe job.runSynchronously(on: self.asUnownedTaskExecutor())
            case .yield:
                yields += 1
                isArriving = true
                sched_yield()
            case .park(let action):
                self.take(action)
                guard worker.parking.wait(for: Self.idleDuration) || !self.leave(worker) else { return }
                isArriving = true
            case .end: return
            }
        }
    }

    private func noteTaken(by worker: Worker, _ state: inout State) {
        worker.taken &+= 1
        state.lastTaken = SystemThread.now
    }

    /// Takes a thread off that waited in vain; false when it was called at the last moment.
    private func leave(_ worker: Worker) -> Bool {
        let hasLeft = self.state.withLock { state in
            guard let index = state.parked.firstIndex(where: { $0 === worker }) else { return false }
            state.parked.remove(at: index)
            state.workers.removeAll { $0 === worker }
            return true
        }
        if !hasLeft { _ = worker.parking.wait(for: nil) }
        return hasLeft
    }

    // MARK: The monitor's look

    /// Starts one more thread when jobs wait and too few threads get on with theirs; false when nothing waits any more.
    fileprivate func look() -> Bool {
        let (mustGoOn, action) = self.state.withLock { state -> (Bool, Action) in
            guard self.waitingCount(state) > 0, self.canGrow(state) else {
                state.isWatched = false
                return (false, .nothing)
            }
            let now = SystemThread.now
            // can't trap: nanoseconds since the machine started
            guard .nanoseconds(now - state.lastLook) >= self.patience else { return (true, .nothing) }
            state.lastLook = now
            for worker in state.workers where !state.parked.contains(where: { $0 === worker }) {
                if worker.taken == worker.seen, !worker.isStuck {
                    worker.isStuck = true
                    state.stuck += 1
                }
                worker.seen = worker.taken
            }
            guard state.arriving == 0, self.activeCount(state) < self.eagerThreads else { return (true, .nothing) }
            if let worker = state.parked.popLast() {
                state.arriving += 1
                return (true, .wake(worker))
            }
            return (true, .start(self.addWorker(&state)))
        }
        self.take(action)
        return mustGoOn
    }
}

/// Runs the engine's steps on the threads of a runner's task bodies, ahead of the bodies that wait.
final class StepExecutor: TaskExecutor {
    private let threads: TaskBodyExecutor

    fileprivate init(threads: TaskBodyExecutor) { self.threads = threads }

    func enqueue(_ job: consuming ExecutorJob) { self.threads.enqueue(UnownedJob(job), on: self) }
}

/// Looks after the executors of the process whose jobs wait, on a thread that there is only as long as some do, and a little
/// longer.
private final class TaskBodyMonitor: Sendable {
    static let shared = TaskBodyMonitor()

    private struct State {
        var watched: [TaskBodyExecutor] = []
        var isRunning = false
        var isParked = false
    }
    private let state = Mutex(State())
    private let parking = Parking()

    /// Looks after an executor until nothing of it waits; false when the system has no thread left.
    func watch(_ executor: TaskBodyExecutor) -> Bool {
        let (mustStart, mustWake) = self.state.withLock { state in
            defer {
                state.isRunning = true
                state.isParked = false
            }
            state.watched.append(executor)
            return (!state.isRunning, state.isParked)
        }
        if mustWake { self.parking.wake() }
        guard mustStart, !SystemThread.start(name: "cloacina-watch", { self.run() }) else { return true }
        self.state.withLock { state in
            state.isRunning = false
            state.watched.removeAll { $0 === executor }
        }
        return false
    }

    private func run() {
        while true {
            if self.state.withLock({ $0.watched.isEmpty }), !self.park() { return }
            SystemThread.sleep(for: TaskBodyExecutor.patience)
            let watched = self.state.withLock { state in
                defer { state.watched = [] }
                return state.watched
            }
            let waiting = watched.filter { $0.look() }
            self.state.withLock { $0.watched += waiting }
        }
    }

    /// Waits for an executor to look after; false when the thread has to end.
    private func park() -> Bool {
        let isNeeded = self.state.withLock { state in
            state.isParked = state.watched.isEmpty
            return !state.isParked
        }
        guard !isNeeded, !self.parking.wait(for: TaskBodyExecutor.idleDuration) else { return true }
        let wasWoken = self.state.withLock { state in
            if state.isParked { state.isRunning = false }
            defer { state.isParked = false }
            return !state.isParked
        }
        if wasWoken { _ = self.parking.wait(for: nil) }
        return wasWoken
    }
}

/// Where one thread waits for another.
@safe private final class Parking: @unchecked Sendable {
    /// Both are allocated once and freed in `deinit`, which no waiting thread outlives: each holds a reference.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    /// Protected by the mutex.
    private var isWoken = false

    init() {
        unsafe self.mutex = .allocate(capacity: 1)
        unsafe self.condition = .allocate(capacity: 1)
        unsafe pthread_mutex_init(self.mutex, nil)
        var attributes = pthread_condattr_t()
        unsafe pthread_condattr_init(&attributes)
        unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        unsafe pthread_cond_init(self.condition, &attributes)
        unsafe pthread_condattr_destroy(&attributes)
    }

    deinit {
        unsafe pthread_cond_destroy(self.condition)
        unsafe pthread_mutex_destroy(self.mutex)
        unsafe self.condition.deallocate()
        unsafe self.mutex.deallocate()
    }

    /// Lets the thread go on that waits, or is about to.
    func wake() {
        unsafe pthread_mutex_lock(self.mutex)
        self.isWoken = true
        unsafe pthread_cond_signal(self.condition)
        unsafe pthread_mutex_unlock(self.mutex)
    }

    /// Waits to be woken, for as long as it takes when the time is nil; false when the time is up.
    func wait(for duration: Duration?) -> Bool {
        var end = timespec()
        if let duration {
            unsafe clock_gettime(CLOCK_MONOTONIC, &end)
            let (seconds, attoseconds) = duration.components
            end.tv_nsec += Int(clamping: attoseconds / 1_000_000_000)
            end.tv_sec += Int(clamping: seconds) + end.tv_nsec / 1_000_000_000
            end.tv_nsec %= 1_000_000_000
        }
        unsafe pthread_mutex_lock(self.mutex)
        defer {
            self.isWoken = false
            unsafe pthread_mutex_unlock(self.mutex)
        }
        while !self.isWoken {
            if duration == nil {
                unsafe pthread_cond_wait(self.condition, self.mutex)
            } else if unsafe pthread_cond_timedwait(self.condition, self.mutex, &end) == ETIMEDOUT {
                return self.isWoken
            }
        }
        return true
    }
}

/// A thread of the system's, for work that may block.
private enum SystemThread {
    /// How much a body and what it calls may put on the stack. The system gives only what is used.
    private static let stackBytes = 4 << 20

    private final class Work {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    /// Runs a closure on a new thread; false when the system has no thread left.
    static func start(name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
        var attributes = pthread_attr_t()
        unsafe pthread_attr_init(&attributes)
        defer { unsafe pthread_attr_destroy(&attributes) }
        unsafe pthread_attr_setdetachstate(&attributes, Int32(truncatingIfNeeded: PTHREAD_CREATE_DETACHED))
        unsafe pthread_attr_setstacksize(&attributes, self.stackBytes)
        var thread = pthread_t()
        let work = unsafe Unmanaged.passRetained(
            Work {
                self.setName(name)
                body()
            })
        let failure = unsafe pthread_create(
            &thread, &attributes,
            { argument in
                guard let argument = unsafe argument else { return nil }
                unsafe Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body()
                return nil
            }, work.toOpaque())
        if failure != 0 { unsafe work.release() }
        return failure == 0
    }

    /// The monotonic clock's time in nanoseconds.
    static var now: Int {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }

    /// Waits on the thread itself.
    static func sleep(for duration: Duration) {
        let (seconds, attoseconds) = duration.components
        var time = timespec(tv_sec: Int(clamping: seconds), tv_nsec: Int(clamping: attoseconds / 1_000_000_000))
        unsafe nanosleep(&time, nil)
    }

    /// Names the calling thread for whoever looks at the process, as far as the system allows.
    private static func setName(_ name: String) {
        let file = unsafe open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        unsafe name.withCString { _ = unsafe write(file, $0, strlen($0)) }
        close(file)
    }
}
