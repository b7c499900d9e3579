public import Cloacina
import FoundationEssentials
import Synchronization

/// Runs workflows in memory, with a clock of its own: the same engine as in production, without database and without waiting.
///
/// ```swift
/// let run = try await TestRunner().execute(etl, context: Context(["day": "2026-11-23"]))
/// try run.result.expect(.completed).expectAttempts("load", 2)
/// ```
///
/// Tasks that need `scope.withConnection` fail here with ``PipelineError/Code/noDatabase``; see ``EphemeralTenant``.
///
/// Each runner made by ``init(clock:configuration:)`` begins with nothing stored. It keeps what it ran, with idempotency keys,
/// for as long as the process lives: two executions share a key when they are one runner's, or of runners that share what is
/// stored.
public final class TestRunner: Sendable {
    /// How a test's runner works: as in production, but for the heartbeat that nobody listens to, once a day.
    public static var defaultConfiguration: RunnerConfiguration {
        var configuration = RunnerConfiguration()
        configuration.heartbeatInterval = .seconds(86_400)
        return configuration
    }

    /// The clock that the runner goes by.
    public let clock: TestClock
    /// The runner itself, for what can be asked of it beside ``execute(_:context:options:)``: cancel, pause, list.
    public let engine: DefaultRunner

    private let store: InMemoryWorkflowStore
    private let lane: Lane
    private let watch: BodyWatch
    private let versions = Mutex<[String: String]>([:])

    /// Makes a runner with a store of its own.
    ///
    /// - Parameters:
    ///   - clock: The clock to go by; one that moves by itself.
    ///   - configuration: As in production, ``defaultConfiguration``. With a `maximumConcurrentTasks` of 1 no two tasks are
    ///     ever under way at the same time.
    public convenience init(
        clock: TestClock = TestClock(), configuration: RunnerConfiguration = TestRunner.defaultConfiguration
    ) {
        self.init(store: InMemoryWorkflowStore(), clock: clock, configuration: configuration)
    }

    /// Makes a runner over what another one stores, with its clock, as another process over the same database: for idempotency
    /// keys, and for versions of a workflow that follow each other.
    ///
    /// - Parameters:
    ///   - other: The runner whose pipelines this one finds, and the other way round.
    ///   - configuration: As in production, ``defaultConfiguration``.
    public convenience init(
        sharing other: TestRunner, configuration: RunnerConfiguration = TestRunner.defaultConfiguration
    ) {
        self.init(store: other.store, clock: other.clock, configuration: configuration)
    }

    private init(store: InMemoryWorkflowStore, clock: TestClock, configuration: RunnerConfiguration) {
        let laneClock = LaneClock(clock)
        self.store = store
        self.clock = clock
        self.lane = laneClock.lane
        self.watch = BodyWatch(clock)
        do {
            self.engine = try DefaultRunner(store: store, configuration: configuration, clock: laneClock)
        } catch {
            preconditionFailure("a runner without workflows has none twice: \(error)")
        }
    }

    /// Runs a workflow to its end.
    ///
    /// When the caller is cancelled, so is the pipeline; the run says what came of it.
    ///
    /// - Throws: `PipelineError`, with `duplicateWorkflow` when the runner has another workflow of that name;
    ///   ``UnmetExpectation`` with ``UnmetExpectation/Code/stalled`` when only the clock's time passes, for ever.
    public func execute(
        _ workflow: Workflow, context: Context = Context(), options: ExecutionOptions = ExecutionOptions()
    ) async throws -> TestRun {
        try self.register(workflow)
        let result = try await self.onLane { [engine = self.engine] in
            try await engine.execute(workflow.name, context: context, options: options)
        }
        return try await self.run(result)
    }

    /// Starts a workflow and returns when that is stored and everything has happened that can without the clock: for clocks
    /// that are moved by hand.
    ///
    /// - Throws: `PipelineError`, as ``execute(_:context:options:)``.
    public func start(
        _ workflow: Workflow, context: Context = Context(), options: ExecutionOptions = ExecutionOptions()
    ) async throws -> PipelineExecution {
        try self.register(workflow)
        let execution = try await self.onLane { [engine = self.engine] in
            try await engine.executeAsync(workflow.name, context: context, options: options)
        }
        await self.clock.advance(by: .zero)
        return execution
    }

    /// Waits for the end of what was started.
    ///
    /// - Throws: `PipelineError`; ``UnmetExpectation``, as ``execute(_:context:options:)``.
    public func end(of execution: PipelineExecution) async throws -> TestRun {
        try await self.run(try await self.onLane { try await execution.result() })
    }

    /// The attempts that began so far, of all pipelines that this runner ran.
    public var beginnings: [TaskBeginning] { self.watch.beginnings }

    /// Makes a workflow known, for tasks that start others by their names.
    ///
    /// - Throws: `PipelineError` with `duplicateWorkflow` when the runner has another workflow of that name.
    public func register(_ workflow: Workflow) throws {
        let version = workflow.contentVersion.hex
        let isKnown = self.versions.withLock { versions in
            defer { versions[workflow.name] = versions[workflow.name] ?? version }
            return versions[workflow.name] == version
        }
        if !isKnown { try self.engine.register(self.watch.watching(workflow)) }
    }

    private func run(_ result: PipelineResult) async throws -> TestRun {
        TestRun(
            result: result, history: try await self.engine.history(of: result.id),
            beginnings: self.watch.beginnings.filter { $0.execution == result.id })
    }

    /// Does something where the engine works, and lets the clock move until it is done.
    private func onLane<R: Sendable>(_ body: @escaping @Sendable () async throws -> R) async throws -> R {
        let end = OneShot<Result<R, any Error>>()
        // On the lane, where everything happens in order; awaited at once, and cancelled with the caller.
        let task = Task(executorPreference: self.lane) { [clock = self.clock] in
            let waiting = clock.beginWaiting { end.send(.failure(UnmetExpectation.stalled())) }
            let result: Result<R, any Error>
            do { result = .success(try await body()) } catch { result = .failure(error) }
            clock.endWaiting(waiting)
            end.send(result)
        }
        return try await withTaskCancellationHandler {
            try await end.wait().get()
        } onCancel: {
            task.cancel()
        }
    }
}
