import EngineTestSupport
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// Pipelines that began with a version of their workflow that nobody has any more (A7, A8, C30).
@Suite(.timeLimit(.minutes(5))) struct StrandedTests {
    /// A later version of the workflow of ``begin(in:)``.
    enum Change: String, CaseIterable, Sendable, CustomTestStringConvertible {
        case otherCode, moreTasks, otherOrder, fewerTasksToCome
        case missingTask, earlierTask, otherDependency

        /// The part of the history that doesn't fit any more; nil when all of it does.
        var misfit: String? {
            switch self {
            case .otherCode, .moreTasks, .otherOrder, .fewerTasksToCome: nil
            case .missingTask:
                "line 3 of its history (task completed of \"extract\") does not fit: the workflow has no task"
            case .earlierTask:
                "line 3 of its history (task completed of \"extract\") does not fit: \"extract\" could not"
            case .otherDependency: "line 4 of its history (task failed of \"check\") does not fit: \"check\" could not"
            }
        }

        var testDescription: String { self.rawValue }

        func workflow() throws -> Workflow {
            switch self {
            case .otherCode:
                try Workflow("w") {
                    WorkflowTask("extract") { _ in }
                    WorkflowTask("check") { _ in }
                    StrandedTests.load("new")
                    WorkflowTask("clean", after: "load") { _ in }
                }
            case .moreTasks:
                try Workflow("w") {
                    WorkflowTask("extract") { _ in }
                    WorkflowTask("check") { _ in }
                    StrandedTests.load("new")
                    WorkflowTask("report", after: "load") { context in try context.set("reported", to: true) }
                }
            case .otherOrder:
                try Workflow("w") {
                    StrandedTests.load("new")
                    WorkflowTask("check") { _ in }
                    WorkflowTask("clean", after: "load") { _ in }
                    WorkflowTask("extract") { _ in }
                }
            case .fewerTasksToCome:
                try Workflow("w") {
                    WorkflowTask("extract") { _ in }
                    WorkflowTask("check") { _ in }
                    StrandedTests.load("new")
                }
            case .missingTask:
                try Workflow("w") {
                    WorkflowTask("fetch") { _ in }
                    WorkflowTask("check") { _ in }
                    StrandedTests.load("new", after: "fetch")
                }
            case .earlierTask:
                try Workflow("w") {
                    WorkflowTask("prepare") { _ in }
                    WorkflowTask("extract", after: "prepare") { _ in }
                    WorkflowTask("check") { _ in }
                    StrandedTests.load("new")
                }
            case .otherDependency:
                try Workflow("w") {
                    WorkflowTask("extract") { _ in }
                    StrandedTests.load("new")
                    WorkflowTask("check", after: "load") { _ in }
                }
            }
        }
    }

    private static func load(_ version: String, after dependency: String = "extract") -> WorkflowTask {
        WorkflowTask("load", after: dependency, codeVersion: version) { context in
            try context.set("loaded by", to: version)
        }
    }

    private static func old() throws -> Workflow {
        try Workflow("w") {
            WorkflowTask("extract") { _ in }
            WorkflowTask("check") { _ in }
            Self.load("old")
            WorkflowTask("clean", after: "load") { _ in }
        }
    }

    /// Leaves a pipeline in the queue of which "extract" has completed and "check" failed, by a runner that is gone.
    private func begin(
        in store: any WorkflowStore, number: Int = 1, status: PipelineStatus = .queued, parent: UUID? = nil,
        key: String? = nil
    ) async throws -> UUID {
        let at = Date(timeIntervalSince1970: 1)
        let new = NewPipeline(
            id: StoreConformance.id(number), workflow: "w", version: try Self.old().contentVersion.hex,
            input: try Context(["day": "2026-11-29"]), options: ExecutionOptions(idempotencyKey: key, priority: 3),
            owner: UUID(), at: at,
            parent: parent, depth: parent == nil ? 0 : 1)
        _ = try await store.create([new])
        let delta = try ContextDelta(parsing: #"{"set":{"rows":7}}"#)
        var transition = PipelineTransition(expectedRevision: 1)
        transition.status = status
        transition.dueAt = status == .queued ? at : nil
        transition.events = [
            PipelineEvent(.pipelineReleased, at: at),
            PipelineEvent(.taskCompleted, task: "extract", attempt: 1, at: at, delta: delta),
            PipelineEvent(.taskFailed, task: "check", attempt: 1, at: at, detail: "no"),
        ]
        let change = PipelineChange(id: new.id, epoch: 1, at: at, transition: transition)
        #expect(try await store.apply([change]) == [.applied(nil)])
        return new.id
    }

    /// A7, C30: it waits for one sweep, in which somebody else may take it, and then goes on if its history fits.
    @Test(arguments: Change.allCases) func whatNobodyTakesGoesOnWhenItsHistoryFits(_ change: Change) async throws {
        try await forEachStore { store in
            let id = try await self.begin(in: store)
            let current = try change.workflow()
            let runner = try DefaultRunner(store: store, workflows: [current])
            await runner.serveOnce()
            #expect(try await runner.status(of: id) == .queued)
            #expect(try await runner.stranded().map(\.id) == [id])
            #expect(try await runner.stranded().map(\.reason) == [.unknownVersion])
            await runner.serveOnce()
            if let misfit = change.misfit {
                #expect(try await runner.stranded().map(\.id) == [id])
                let error = await #expect(throws: PipelineError.self) {
                    try await runner.continueWithCurrentVersion(id)
                }
                #expect(error?.code == .versionMismatch)
                #expect(error?.message.contains(misfit) == true, "\(error?.message ?? "")")
                #expect(try await runner.status(of: id) == .queued)
                runner.registerEarlier(try Self.old())
                await runner.serveOnce()
            }
            let result = try await runner.result(of: id)
            // "check" had failed, and that stands.
            #expect(result.status == .failed)
            #expect(result.task("extract")?.attempts.count == 1)
            #expect(result.finalContext["rows"] == 7)
            #expect(result.finalContext["loaded by"] == (change.misfit == nil ? "new" : "old"))
            #expect(result.finalContext["reported"] == (change == .moreTasks ? true : nil))
            let version = try change.misfit == nil ? current.contentVersion.hex : Self.old().contentVersion.hex
            #expect(try await runner.list().map(\.version) == [version])
            #expect(
                try await runner.history(of: id).count { $0.kind == .pipelineContinued }
                    == (change.misfit == nil ? 1 : 0))
            #expect(try await runner.stranded().isEmpty)
        }
    }

    private func forEachStore(_ body: (any WorkflowStore) async throws -> Void) async throws {
        try await body(InMemoryWorkflowStore())
        try await withTemporaryDirectory { directory in
            try await body(SQLiteWorkflowStore(opening: directory.appending(path: "pipelines.sqlite")))
        }
    }

    @Test func aPinnedPolicyLeavesIt() async throws {
        let store = InMemoryWorkflowStore()
        let id = try await self.begin(in: store)
        var configuration = RunnerConfiguration()
        configuration.versionPolicy = .pinned
        let runner = try DefaultRunner(
            store: store, workflows: [Change.otherCode.workflow()], configuration: configuration)
        for _ in 0..<5 { await runner.serveOnce() }
        #expect(try await runner.status(of: id) == .queued)
        try await runner.continueWithCurrentVersion(id)
        #expect(try await runner.result(of: id).finalContext["loaded by"] == "new")
        // It has that version already, and has ended.
        let error = await #expect(throws: PipelineError.self) { try await runner.continueWithCurrentVersion(id) }
        #expect(error?.code == .notPossible)
    }

    /// Two builds that live side by side, each with more to do than it can, must not take a pipeline from each other for ever.
    @Test func aPipelineGoesBackToAVersionThatItLeftOnlyOnRequest() async throws {
        let store = InMemoryWorkflowStore()
        let id = try await self.begin(in: store, status: .paused)
        let new = try DefaultRunner(store: store, workflows: [Change.otherCode.workflow()])
        try await new.continueWithCurrentVersion(id)
        try await new.resume(id)
        let old = try DefaultRunner(store: store, workflows: [Self.old()])
        for _ in 0..<5 { await old.serveOnce() }
        #expect(try await old.status(of: id) == .queued)
        try await old.continueWithCurrentVersion(id)
        #expect(try await old.result(of: id).finalContext["loaded by"] == "old")
    }

    @Test func aDeclaredVersionGoesOnAtOnce() async throws {
        let store = InMemoryWorkflowStore()
        let id = try await self.begin(in: store)
        var configuration = RunnerConfiguration()
        configuration.versionPolicy = .pinned
        let runner = try DefaultRunner(store: store, configuration: configuration)
        try runner.register(Change.otherCode.workflow(), compatibleWith: [Self.old().contentVersion.hex])
        await runner.serveOnce()
        #expect(try await runner.result(of: id).finalContext["loaded by"] == "new")
    }

    @Test func aPausedPipelineStaysPausedWithTheCurrentVersion() async throws {
        let store = InMemoryWorkflowStore()
        let id = try await self.begin(in: store, status: .paused)
        let current = try Change.otherCode.workflow()
        let runner = try DefaultRunner(store: store, workflows: [current])
        try await runner.continueWithCurrentVersion(id)
        try await runner.continueWithCurrentVersion(id)
        #expect(try await runner.status(of: id) == .paused)
        #expect(try await runner.list().map(\.version) == [current.contentVersion.hex])
        try await runner.resume(id)
        await runner.serveOnce()
        #expect(try await runner.result(of: id).finalContext["loaded by"] == "new")
    }

    /// A8: the parent's task waits for a child of a version that is gone, and whose history doesn't fit.
    @Test func aChildThatNobodyTakesEndsItsParentsWait() async throws {
        let store = InMemoryWorkflowStore()
        let clock = HandClock()
        let parent = try Workflow("parent") {
            WorkflowTask("invoice") { _, scope in _ = try await scope.execute("w", as: "child") }
        }
        let runner = try clock.runner(parent, Change.missingTask.workflow(), store: store)
        // The task's earlier attempt began the child, in a process that had the version.
        let id = StoreConformance.id(1)
        let new = NewPipeline(parent, owner: UUID(), at: clock.date(0))
        _ = try await store.create([new])
        let child = try await self.begin(
            in: store, parent: new.id, key: ChildKey.make(parent: new.id, number: 1, task: "invoice", name: "child"))
        #expect(child == id)
        var transition = PipelineTransition(expectedRevision: 1)
        transition.status = .queued
        transition.dueAt = clock.date(0)
        transition.events = [PipelineEvent(.pipelineReleased, at: clock.date(0))]
        _ = try await store.apply([
            PipelineChange(id: new.id, epoch: 1, at: clock.date(0), transition: transition)
        ])
        clock.begin { await runner.serveOnce() }
        await clock.advance(by: .seconds(200))
        #expect(try await runner.status(of: new.id) == .running)
        await clock.advance(by: .seconds(200))
        let result = try await runner.snapshot(of: new.id)
        #expect(result.status == .failed)
        let error = result.task("invoice")?.attempts.last?.error ?? ""
        #expect(error.contains("stranded: the child \(id) of \"w\""), "\(error)")
        #expect(error.contains("line 3 of its history"), "\(error)")
        await clock.settle()
        // Nobody waits for it any more.
        #expect(try await runner.status(of: id) == .cancelled)
    }

    /// C30: a way out where nothing fits.
    @Test(arguments: [nil, "march"]) func aStrandedPipelineIsBegunAnew(key: String?) async throws {
        try await forEachStore { store in
            let id = try await self.begin(in: store, key: key)
            let runner = try DefaultRunner(store: store, workflows: [Change.missingTask.workflow()])
            let again = try await runner.restart(id)
            #expect(again.id != id)
            #expect(again.isNew)
            #expect(try await runner.status(of: id) == .cancelled)
            await runner.serveOnce()
            let result = try await again.result()
            #expect(result.status == .completed)
            #expect(result.finalContext.values == ["day": "2026-11-29", "loaded by": "new"])
            let completed = await #expect(throws: PipelineError.self) { try await runner.restart(again.id) }
            #expect(completed?.code == .notPossible)
            let second = try await runner.enqueue(
                "w", context: Context(["day": "2026-11-29"]), options: ExecutionOptions(idempotencyKey: key))
            #expect((second.id == again.id) == (key != nil))
        }
    }

    @Test func aTasksChildIsNotBegunAnewByItself() async throws {
        let store = InMemoryWorkflowStore()
        let id = try await self.begin(in: store, parent: StoreConformance.id(9))
        let runner = try DefaultRunner(store: store, workflows: [Change.missingTask.workflow()])
        let error = await #expect(throws: PipelineError.self) { try await runner.restart(id) }
        #expect(error?.code == .notPossible)
        #expect(try await runner.status(of: id) == .queued)
    }

    @Test func whatIsStrandedIsReportedOnce() async throws {
        let store = InMemoryWorkflowStore()
        for number in 1...3 { _ = try await self.begin(in: store, number: number) }
        let log = LogLines()
        let runner = try DefaultRunner(store: store, workflows: [Change.missingTask.workflow()], logger: log.logger)
        await runner.serveOnce()
        #expect(log.warnings.isEmpty)
        for _ in 0..<3 { await runner.serveOnce() }
        #expect(log.warnings.count { $0.contains("pipelines wait that no runner takes") } == 1)
        #expect(log.warnings.count { $0.contains("can't go on with the current version") } == 3)
        #expect(runner.state.withLock { $0.strandings.count } == 3)
        try await runner.cancel(StoreConformance.id(1))
        await runner.serveOnce()
        #expect(log.warnings.count { $0.contains("pipelines wait that no runner takes") } == 2)
        await runner.shutDown()
        #expect(runner.state.withLock { $0.strandings.count } == 0)
    }

    @Test func whatAnotherProcessMayServeCountsAfterTenLooks() {
        var detector = StrandingDetector()
        func pipeline(_ number: Int, _ reason: StrandedPipeline.Reason) -> StrandedPipeline {
            StrandedPipeline(
                id: StoreConformance.id(number), workflow: "w", version: "1", reason: reason, createdAt: .distantPast,
                dueAt: .distantPast)
        }
        let found = [pipeline(1, .unknownVersion), pipeline(2, .unknownWorkflow), pipeline(3, .newerFormat)]
        var counts: [Int] = []
        for _ in 0..<11 { counts.append(detector.look(StrandedPage(found)).count) }
        #expect(counts == [0, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3])
        #expect(detector.report() == 3)
        #expect(detector.report() == nil)
        // One that was away for a look, or is another matter now, begins anew.
        #expect(detector.look(StrandedPage([found[0]])).count == 1)
        #expect(detector.look(StrandedPage([found[0], found[1]])).map(\.id) == [StoreConformance.id(1)])
        #expect(detector.look(StrandedPage([pipeline(1, .unknownWorkflow)])).isEmpty)
        #expect(detector.report() == -3)
    }
}
