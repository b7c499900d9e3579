import Cloacina
import FoundationEssentials

/// One workflow and the processes that run it, one after the other.
struct CrashTrial {
    /// Ends the process that runs this.
    @TaskLocal static var die: (@Sendable (Crash) -> Void)?

    private enum Ending: Sendable {
        case died(Crash)
        case ended(PipelineResult?, [PipelineEvent])
        case failed(any Error)
    }

    private let workflow: Workflow
    private let others: [Workflow]
    private let context: Context
    private let options: ExecutionOptions
    private let clock: TestClock
    private let configuration: RunnerConfiguration
    private let watch: BodyWatch
    private let store = InMemoryWorkflowStore()
    private var pipeline: UUID?
    private var crashes: [Crash] = []
    private var isFirst = true

    init(
        _ workflow: Workflow, others: [Workflow], context: Context, options: ExecutionOptions, clock: TestClock,
        configuration: RunnerConfiguration
    ) throws {
        let watch = BodyWatch(clock)
        self.watch = watch
        self.workflow = try watch.watching(workflow)
        self.others = try others.map { other throws(WorkflowError) in try watch.watching(other) }
        self.context = context
        self.options = options
        self.clock = clock
        self.configuration = configuration
    }

    /// Lives as one process: until it dies, or else to the pipeline's end.
    ///
    /// - Returns: What came of it all, and how often this process wrote; nil when it died.
    mutating func live(until point: CrashPoint?) async throws -> (report: CrashReport, writes: Int)? {
        let end = OneShot<Ending>()
        let laneClock = LaneClock(self.clock)
        let die = { @Sendable [clock = self.clock] (crash: Crash) in
            clock.crash()
            end.send(.died(crash))
        }
        let store = MortalStore(self.store, until: point, die: die)
        let runner = try DefaultRunner(
            store: store, workflows: [self.workflow] + self.others, configuration: self.configuration, clock: laneClock)
        self.watch.beginProcess(dyingBy: die)
        let work = self.isFirst ? self.beginning(runner) : self.goingOn(runner)
        // Not awaited when the process dies: it never ends then.
        Task(executorPreference: laneClock.lane) { [clock = self.clock] in
            let waiting = clock.beginWaiting { end.send(.failed(UnmetExpectation.stalled())) }
            let ending = await work()
            clock.endWaiting(waiting)
            end.send(ending)
        }
        let ending = await end.wait()
        if self.isFirst { self.pipeline = store.first }
        self.isFirst = false
        self.watch.nextProcess()
        switch ending {
        case .died(let crash):
            self.crashes.append(crash)
            return nil
        case .failed(let error): throw error
        case .ended(let result, let history):
            let report = CrashReport(
                crashes: self.crashes, result: result, history: history, beginnings: self.watch.beginnings)
            // The heartbeat still sleeps, and nobody needs it any more.
            self.clock.crash()
            return (report, store.writes.count)
        }
    }

    /// What the first process does.
    private func beginning(_ runner: DefaultRunner) -> @Sendable () async -> Ending {
        { [name = self.workflow.name, context = self.context, options = self.options] in
            do {
                let result = try await runner.execute(name, context: context, options: options)
                return .ended(result, try await runner.history(of: result.id))
            } catch {
                return .failed(error)
            }
        }
    }

    /// What each further process does.
    private func goingOn(_ runner: DefaultRunner) -> @Sendable () async -> Ending {
        { [pipeline = self.pipeline] in
            do {
                await runner.serveOnce()
                guard let pipeline, try await runner.isStored(pipeline) else { return .ended(nil, []) }
                return .ended(try await runner.result(of: pipeline), try await runner.history(of: pipeline))
            } catch {
                return .failed(error)
            }
        }
    }
}

extension DefaultRunner {
    fileprivate func isStored(_ id: UUID) async throws(PipelineError) -> Bool {
        do {
            _ = try await self.status(of: id)
            return true
        } catch {
            guard error.code == .pipelineNotFound else { throw error }
            return false
        }
    }
}
