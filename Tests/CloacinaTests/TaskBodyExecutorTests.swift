import Dispatch
import FoundationEssentials
import Glibc
import Synchronization
import Testing

@testable import Cloacina

/// The threads that tasks' code runs on.
@Suite(.timeLimit(.minutes(5))) struct TaskBodyExecutorTests {
    /// Holds threads up until it is opened.
    private final class Gate: Sendable {
        private let semaphore = DispatchSemaphore(value: 0)

        func open() { self.semaphore.signal() }

        /// Each that passes lets the next one pass.
        func block() {
            self.semaphore.wait()
            self.semaphore.signal()
        }
    }

    /// What bodies leave for the test.
    private final class Log: Sendable {
        private let numbers = Mutex<[Int]>([])

        var all: [Int] { self.numbers.withLock { $0 } }

        func note(_ number: Int) { self.numbers.withLock { $0.append(number) } }
    }

    @Test func thereAreNoThreadsBeforeTheFirstJob() {
        #expect(TaskBodyExecutor(maximumThreads: 16).threadCount == 0)
    }

    @Test func theNumberOfThreadsIsHeld() {
        #expect(TaskBodyExecutor(maximumThreads: 0).maximumThreads == 1)
        #expect(TaskBodyExecutor(maximumThreads: 10_000).maximumThreads == 64)
    }

    @Test func bodiesThatBlockHoldUpNoOther() async {
        let executor = TaskBodyExecutor(maximumThreads: 16)
        let gate = Gate()
        let blocking = (0..<15).map { _ in Task(executorPreference: executor) { gate.block() } }
        // Counted on the sixteenth: once it has nothing to do it may end.
        #expect(await Task(executorPreference: executor) { executor.threadCount }.value == 16)
        gate.open()
        for task in blocking { await task.value }
    }

    @Test func noMoreThreadsStartThanAllowed() async {
        let executor = TaskBodyExecutor(maximumThreads: 2)
        let gate = Gate()
        let running = Log()
        let blocking = (0..<8).map { number in
            Task(executorPreference: executor) {
                running.note(number)
                gate.block()
            }
        }
        while running.all.count < 2 { await Task.yield() }
        await self.letTheMonitorLook(times: 4)
        #expect(running.all.count == 2 && executor.threadCount == 2)
        gate.open()
        for task in blocking { await task.value }
    }

    /// Waits until the monitor, which all executors share, has started threads for another one.
    private func letTheMonitorLook(times: Int) async {
        let threads = min(TaskBodyExecutor.threadLimit, ProcessInfo.processInfo.activeProcessorCount + times)
        let executor = TaskBodyExecutor(maximumThreads: threads)
        let gate = Gate()
        let blocking = (1..<threads).map { _ in Task(executorPreference: executor) { gate.block() } }
        await Task(executorPreference: executor) {}.value
        gate.open()
        for task in blocking { await task.value }
    }

    @Test func oneThreadRunsThemInTheOrderInWhichTheyCame() async {
        let executor = TaskBodyExecutor(maximumThreads: 1)
        let gate = Gate()
        let order = Log()
        let blocking = Task(executorPreference: executor) { gate.block() }
        let tasks = (0..<100).map { number in
            Task(executorPreference: executor) { order.note(number) }
        }
        gate.open()
        await blocking.value
        for task in tasks { await task.value }
        #expect(order.all == Array(0..<100))
    }

    @Test(arguments: [1, 4]) func aStepRunsAlthoughBodiesBlockAllTheirThreads(threads: Int) async {
        let executor = TaskBodyExecutor(maximumThreads: threads)
        let gate = Gate()
        let running = Log()
        let blocking = (0..<threads + 4).map { number in
            Task(executorPreference: executor) {
                running.note(number)
                gate.block()
            }
        }
        while running.all.count < threads { await Task.yield() }
        for _ in 0..<10 { await Task(executorPreference: executor.steps) {}.value }
        #expect(running.all.count == threads)
        gate.open()
        for task in blocking { await task.value }
        #expect(running.all.count == threads + 4)
    }

    @Test func stepsGoBeforeTheBodiesThatWait() async {
        let executor = TaskBodyExecutor(maximumThreads: 1)
        let steps = executor.steps
        let order = Log()
        let body = Task(executorPreference: executor) {
            // Both are left by the thread that runs this, which takes the step first.
            let later = Task(executorPreference: executor) { order.note(2) }
            let step = Task(executorPreference: steps) { order.note(1) }
            return (later, step)
        }
        let (later, step) = await body.value
        await later.value
        await step.value
        #expect(order.all == [1, 2])
    }

    /// What runs a step on other threads in between would go through the executor again at each call.
    @Test func aStepStaysOnItsThreadWhereItWaitsForNothing() async {
        let executor = TaskBodyExecutor(maximumThreads: 2)
        @Sendable func thread() async -> UInt64 { UInt64(pthread_self()) }
        let threads = await Task(executorPreference: executor.steps) {
            var threads: Set<UInt64> = []
            for _ in 0..<100 { threads.insert(await thread()) }
            return threads
        }.value
        #expect(threads.count == 1)
    }

    @Test func manySmallBodiesAllRun() async {
        let executor = TaskBodyExecutor(maximumThreads: 4)
        let log = Log()
        await withDiscardingTaskGroup { group in
            for _ in 0..<32 {
                group.addTask {
                    for number in 0..<100 {
                        await Task(executorPreference: executor) { log.note(number) }.value
                    }
                }
            }
        }
        #expect(log.all.count == 3_200)
    }

    /// How many bodies run at a time, and the most that ever did.
    private final class Gauge: Sendable {
        private let state = Mutex((now: 0, most: 0))

        var most: Int { self.state.withLock { $0.most } }

        func during(_ body: () -> Void) {
            self.state.withLock { state in
                state.now += 1
                state.most = max(state.most, state.now)
            }
            body()
            self.state.withLock { $0.now -= 1 }
        }
    }

    /// More threads than cores would only take turns. One that the machine leaves waiting for long looks stuck, so one quiet round
    /// counts.
    @Test func threadsThatCameForBlockedOnesStepBack() async {
        let cores = ProcessInfo.processInfo.activeProcessorCount
        let executor = TaskBodyExecutor(maximumThreads: cores + 2, patience: .milliseconds(300))
        let gate = Gate()
        let blocking = (0..<cores + 1).map { _ in Task(executorPreference: executor) { gate.block() } }
        await Task(executorPreference: executor) {}.value
        gate.open()
        for task in blocking { await task.value }
        var most = Int.max
        for _ in 0..<20 where most > cores {
            let gauge = Gauge()
            await withDiscardingTaskGroup { group in
                for _ in 0..<200 {
                    group.addTask(executorPreference: executor) {
                        gauge.during {
                            let end = ContinuousClock.now.advanced(by: .microseconds(100))
                            while .now < end {}
                        }
                    }
                }
            }
            most = min(most, gauge.most)
        }
        #expect(most <= cores)
    }

    @Test func threadsWithoutWorkEndAndKeepNothingAlive() async throws {
        weak var weakly: TaskBodyExecutor?
        do {
            let executor = TaskBodyExecutor(maximumThreads: 4)
            weakly = executor
            await Task(executorPreference: executor) {}.value
            executor.retire()
            await Task(executorPreference: executor) {}.value
        }
        while weakly != nil { await Task.yield() }
    }
}
