import EngineTestSupport
import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

/// Pipelines that can't go on, and are more than one look reads (S18).
@Suite(.timeLimit(.minutes(5))) struct StrandedPartsTests {
    private static func pipeline(
        _ number: Int, _ reason: StrandedPipeline.Reason = .unknownVersion
    ) -> StrandedPipeline {
        StrandedPipeline(
            id: StoreConformance.id(number), workflow: "w", version: "1", reason: reason, createdAt: .distantPast,
            dueAt: .distantPast)
    }

    private static func place(_ number: Int) -> StrandedPlace {
        StrandedPlace(
            format: 1, lane: "1 w", priority: 0, dueAt: .distantPast, id: StoreConformance.id(number))
    }

    private static func page(_ numbers: ClosedRange<Int>, isLast: Bool = false) -> StrandedPage {
        StrandedPage(numbers.map { Self.pipeline($0) }, next: isLast ? nil : Self.place(numbers.upperBound))
    }

    @Test func looksGoFromPartToPartAndBeginAnewAfterTheLast() {
        var detector = StrandingDetector()
        var places: [StrandedPlace?] = []
        for part in [Self.page(1...3), Self.page(4...6), Self.page(7...8, isLast: true)] {
            for look in 0..<2 {
                places.append(detector.place)
                #expect(detector.look(part).count == (look == 0 ? 0 : part.pipelines.count))
            }
            detector.moveOn()
        }
        #expect(places == [nil, nil, Self.place(3), Self.place(3), Self.place(6), Self.place(6)])
        #expect(detector.place == nil && detector.count == 8)
        // What is still there needs no second look with the next round, and what has gone is forgotten with its end.
        #expect(detector.look(Self.page(1...2)).map(\.id) == [1, 2].map(StoreConformance.id))
        detector.moveOn()
        #expect(detector.count == 8)
        #expect(detector.look(Self.page(4...6, isLast: true)).count == 3)
        #expect(detector.count == 5)
    }

    /// Rounds may take long: what was found nine looks ago, and now again, is counted.
    @Test func whatAnotherProcessMayServeCountsAcrossRounds() {
        var detector = StrandingDetector()
        var counts: [Int] = []
        for round in 0..<6 {
            for part in [
                StrandedPage([Self.pipeline(1, .unknownWorkflow)], next: Self.place(1)), Self.page(2...2, isLast: true),
            ] {
                _ = detector.look(part)
                detector.moveOn()
            }
            counts.append(detector.count)
            #expect(detector.place == nil, "\(round)")
        }
        // The second part was found twice after two rounds, the first nine looks later after six.
        #expect(counts == [0, 1, 1, 1, 1, 2])
    }

    @Test func noMoreAreRememberedThanTheLimit() {
        var detector = StrandingDetector()
        let size = StrandingDetector.limit / 4
        for part in 0..<8 {
            let numbers = part * size + 1...(part + 1) * size
            for _ in 0..<2 { #expect(detector.look(Self.page(numbers)).count <= size) }
            detector.moveOn()
            #expect(detector.count == min(part + 1, 4) * size)
        }
        detector.note(misfit: "no", of: StoreConformance.id(8 * size))
        #expect(detector.misfit(of: StoreConformance.id(8 * size)) == "no")
        detector.forget(StoreConformance.id(8 * size))
        #expect(detector.count == StrandingDetector.limit - 1)
        detector.forgetMisfits()
        #expect(detector.place == nil)
        detector.forgetAll()
        #expect(detector.count == 0)
    }

    private static func old() throws -> Workflow {
        try Workflow("w") {
            WorkflowTask("extract") { _ in }
            WorkflowTask("load", codeVersion: "old") { _ in }
        }
    }

    /// Leaves a pipeline in the queue of which a task has completed, by a runner that is gone.
    private static func begin(
        _ number: Int, completed task: String, workflow: Workflow, in store: any WorkflowStore
    ) async throws {
        let at = StoreConformance.at(Double(number))
        let new = NewPipeline(
            id: StoreConformance.id(number), workflow: workflow.name, version: workflow.contentVersion.hex,
            input: Context(), owner: UUID(), at: at)
        _ = try await store.create([new])
        var transition = PipelineTransition(expectedRevision: 1)
        transition.status = .queued
        transition.dueAt = at
        transition.events = [
            PipelineEvent(.taskCompleted, task: task, attempt: 1, at: at, delta: ContextDelta()),
            PipelineEvent(.pipelineReleased, at: at),
        ]
        _ = try await store.apply([PipelineChange(id: new.id, epoch: 1, at: at, transition: transition)])
    }

    /// A thousand at the head of the queue whose history fits no version that is there.
    @Test func whatCannotGoOnHidesNothingBehindIt() async throws {
        let store = InMemoryWorkflowStore()
        let old = try Self.old()
        let last = StoredLimits.surveyRows + 100
        for number in 1..<last { try await Self.begin(number, completed: "extract", workflow: old, in: store) }
        try await Self.begin(last, completed: "load", workflow: old, in: store)
        let current = try Workflow("w") {
            WorkflowTask("fetch") { _ in }
            WorkflowTask("load", codeVersion: "new") { _ in }
        }
        let runner = try DefaultRunner(store: store, workflows: [current])
        var looks = 0
        while try await runner.status(of: StoreConformance.id(last)) == .queued, looks < 20 {
            await runner.serveOnce()
            looks += 1
        }
        #expect(try await runner.result(of: StoreConformance.id(last)).status == .completed)
        #expect(try await runner.status(of: StoreConformance.id(1)) == .queued)
        await runner.shutDown(drain: .zero)
    }

    /// A hundred workflows and more that the runner doesn't have, each with something that waits.
    @Test func foreignWorkflowsHideNothingBehindThem() async throws {
        let store = InMemoryWorkflowStore()
        _ = try await store.create(
            (1...StoredLimits.surveyRows + 50).map {
                StoreConformance.new($0, workflow: "a\($0)", owner: nil, at: StoreConformance.at(0))
            })
        let (id, old) = (5_000, try Self.old())
        try await Self.begin(id, completed: "load", workflow: old, in: store)
        let current = try Workflow("w") { WorkflowTask("load", codeVersion: "new") { _ in } }
        let runner = try DefaultRunner(store: store, workflows: [current])
        for _ in 0..<6 { await runner.serveOnce() }
        #expect(try await runner.result(of: StoreConformance.id(id)).status == .completed)
        await runner.shutDown(drain: .zero)
    }
}
