import CLibPQ
import DequeModule
import Glibc
import Synchronization

/// A thread that runs one connection's work, so that libpq may wait without holding up the cooperative pool.
///
/// It starts at once and ends with ``stop()``; a connection calls that from its `deinit`.
@safe final class ConnectionThread: SerialExecutor {
    private struct State {
        var jobs: Deque<UnownedJob> = []
        var isParked = false
        var isStopping = false
        /// Whether the running job polls for something that a new job should interrupt (LISTEN).
        var yieldsToNewJobs = false
    }

    private let state = Mutex(State())
    /// Parks the thread. Allocated once and freed in `deinit`, which no thread can outlive: each holds a reference.
    private nonisolated(unsafe) let semaphore: UnsafeMutablePointer<sem_t>
    /// Interrupts a wait in `poll`.
    let wakeUp: WakeUp

    /// Throws when the process has no descriptor or thread left, which its other connections can live with.
    init() throws(PostgresError) {
        guard let wakeUp = WakeUp() else {
            throw PostgresError(.connectionFailed, advice: "this process may open no more descriptors; see ulimit -n")
        }
        self.wakeUp = wakeUp
        unsafe self.semaphore = .allocate(capacity: 1)
        unsafe sem_init(self.semaphore, 0, 0)
        try self.start()
    }

    deinit {
        unsafe sem_destroy(self.semaphore)
        unsafe self.semaphore.deallocate()
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        enum Next { case nothing, unpark, interrupt }
        let next: Next = self.state.withLock { state in
            state.jobs.append(job)
            if state.isParked {
                state.isParked = false
                return .unpark
            }
            return state.yieldsToNewJobs ? .interrupt : .nothing
        }
        switch next {
        case .nothing: break
        case .unpark: unsafe sem_post(self.semaphore)
        case .interrupt: self.wakeUp.signal()
        }
    }

    func asUnownedSerialExecutor() -> UnownedSerialExecutor { unsafe UnownedSerialExecutor(ordinary: self) }

    /// Lets the thread end once it has run what is queued.
    func stop() {
        let wasParked = self.state.withLock { state in
            state.isStopping = true
            defer { state.isParked = false }
            return state.isParked
        }
        if wasParked { unsafe sem_post(self.semaphore) }
    }

    /// Marks the running job as one that gives way: a new job signals ``wakeUp``. Returns false if one is already there.
    func beginYielding() -> Bool {
        self.state.withLock { state in
            guard state.jobs.isEmpty else { return false }
            state.yieldsToNewJobs = true
            return true
        }
    }

    func endYielding() {
        self.state.withLock { $0.yieldsToNewJobs = false }
    }

    private func start() throws(PostgresError) {
        guard DetachedThread.start({ self.run() }) else {
            throw PostgresError(
                .connectionFailed, advice: "the system has no thread left for a connection; see ulimit -u")
        }
    }

    private func run() {
        unsafe cloacina_name_thread("cloacina-pg")
        while let job = self.nextJob() {
            unsafe job.runSynchronously(on: self.asUnownedSerialExecutor())
        }
    }

    /// Waits for a job; `nil` when the thread should end.
    private func nextJob() -> UnownedJob? {
        while true {
            enum Next { case run(UnownedJob), end, park }
            let next: Next = self.state.withLock { state in
                if let job = state.jobs.popFirst() { return .run(job) }
                if state.isStopping { return .end }
                state.isParked = true
                return .park
            }
            switch next {
            case .run(let job): return job
            case .end: return nil
            case .park: while unsafe sem_wait(self.semaphore) != 0 {}  // only EINTR fails
            }
        }
    }
}

/// A descriptor that any thread can make readable, to end another thread's wait in `poll`.
final class WakeUp: Sendable {
    let descriptor: Int32

    /// `nil` when the process has no descriptor left.
    init?() {
        self.descriptor = cloacina_eventfd()
        guard self.descriptor >= 0 else { return nil }
    }

    deinit { if self.descriptor >= 0 { close(self.descriptor) } }

    func signal() {
        var one: UInt64 = 1
        _ = unsafe write(self.descriptor, &one, 8)
    }

    func clear() {
        var count: UInt64 = 0
        _ = unsafe read(self.descriptor, &count, 8)
    }
}
