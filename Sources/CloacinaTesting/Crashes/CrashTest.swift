public import Cloacina
import FoundationEssentials
import Synchronization

/// Kills the process at every point at which that makes a difference, and lets another one go on.
///
/// ```swift
/// let bank = FakeBank()
/// try await CrashTest(transfer(with: bank)).everyPoint(before: { bank.reset() }) { report in
///     try report.result?.expect(.completed)
///     try report.expectBegins("debit", atMost: 2)
///     #expect(bank.debits <= 1, "\(report)")
/// }
/// ```
///
/// The processes are runners over one store in memory. The one that dies does so in the midst of a write: nothing of its
/// engine and its tasks ever goes on, no error is thrown into anything, no `defer` runs. What it had still reserved in this
/// real process is never freed: such a task should hold nothing dear. The next one finds out by the same recovery as in
/// production, and the clock moves by itself, so that neither leases nor retries take time.
///
/// Dying at a write finds a task's code where it waits, if it waits while another task writes; else it is done or has not
/// begun. ``die(_:)`` ends the process in the midst of it. What a task started outside of the engine goes on: `Task { … }`,
/// threads, actors with executors of their own.
public struct CrashTest: Sendable {
    private let workflow: Workflow
    private let others: [Workflow]
    private let context: Context
    private var configuration: RunnerConfiguration
    private let options: ExecutionOptions
    private let clock: TestClock

    /// Makes a test of one workflow.
    ///
    /// - Parameters:
    ///   - others: The workflows that its tasks run as their children.
    ///   - context: What the workflow is given.
    ///   - timeout: How long the pipeline may take, by the clock: no limit.
    ///   - clock: The clock to go by. It must move by itself and belongs to this test alone; its seed decides the order of
    ///     tasks that run at the same time, and so of writes.
    ///   - configuration: How the runners work, as in production by default; the lease is ignored, since dead is dead.
    public init(
        _ workflow: Workflow, others: [Workflow] = [], context: Context = Context(), timeout: Duration? = nil,
        clock: TestClock = TestClock(), configuration: RunnerConfiguration = TestRunner.defaultConfiguration
    ) {
        precondition(clock.state.withLock { $0.movement } == .whenIdle, "a crash test's clock moves by itself")
        self.workflow = workflow
        self.others = others
        self.context = context
        self.options = ExecutionOptions(timeout: timeout)
        self.clock = clock
        self.configuration = configuration
        self.configuration.leaseDuration = .zero
    }

    /// Runs the workflow once without a crash and then once for each point at which a process can die.
    ///
    /// - Parameters:
    ///   - crashes: How many processes die, one after the other: 1. With more, each combination of points is tried; in which
    ///     order a third process finds the other two dead is left to chance.
    ///   - prepare: Is called before each run, to put the world outside back as it was.
    ///   - check: Is given what became of each run; the first one is without a crash.
    /// - Returns: How many runs there were.
    /// - Throws: What the closures throw; `PipelineError`; ``UnmetExpectation`` with ``UnmetExpectation/Code/stalled``.
    @discardableResult
    public func everyPoint(
        crashes: Int = 1, before prepare: () async throws -> Void = {},
        check: (CrashReport) async throws -> Void
    ) async throws -> Int {
        var pending: [[CrashPoint]] = [[]]
        var runs = 0
        while let points = pending.popLast() {
            try await prepare()
            let (report, writes) = try await self.run(points)
            runs += 1
            try await check(report)
            guard points.count < crashes, report.crashes.count == points.count else { continue }
            let next = (0..<writes).flatMap { [CrashPoint.before($0 + 1), .after($0 + 1)] }
            pending += next.reversed().map { points + [$0] }
        }
        return runs
    }

    /// Ends the process here, in the midst of a task's code; does nothing when no crash test runs the task.
    ///
    /// It ends as often as it comes here, so the code decides: `if scope.attempt == 1 { await CrashTest.die("paid") }`.
    ///
    /// - Parameter place: What the report calls it.
    public static func die(_ place: String = "in a task") async {
        guard let die = CrashTrial.die else { return }
        die(Crash(point: nil, place: place))
        await MortalStore.nothing()
    }

    /// Runs the workflow once, its processes dying at given points, and the last one not.
    ///
    /// A process that has not so many writes does not die, and the report has fewer crashes.
    ///
    /// - Throws: `PipelineError`; ``UnmetExpectation`` with ``UnmetExpectation/Code/stalled``.
    public func run(crashingAt points: CrashPoint...) async throws -> CrashReport { try await self.run(points).report }

    private func run(_ points: [CrashPoint]) async throws -> (report: CrashReport, writes: Int) {
        var trial = try CrashTrial(
            self.workflow, others: self.others, context: self.context, options: self.options, clock: self.clock,
            configuration: self.configuration)
        for point in points {
            if let ended = try await trial.live(until: point) { return ended }
        }
        while true {
            if let ended = try await trial.live(until: nil) { return ended }
        }
    }
}
