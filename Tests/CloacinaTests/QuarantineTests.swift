import FoundationEssentials
import Testing

@testable import Cloacina

/// The one place for pipelines that processes died of, when one of them waits for another.
@Suite(.timeLimit(.minutes(5))) struct QuarantineTests {
    /// Given up meanwhile or not, the place is the pipeline's afterwards: it gives it up itself.
    @Test(arguments: [false, true]) func aTaskThatOnlyWaitsLendsItsPlace(isGivenUp: Bool) async {
        let (slots, quarantine) = (TaskSlots(1), TaskSlots(1, mail: .quarantine))
        #expect(slots.take(upTo: 1) == 1 && quarantine.take(upTo: 1) == 1)
        let held = HeldSlot(slots, quarantine: quarantine)
        await held.lend {
            #expect(quarantine.take(upTo: 1) == 1)
            quarantine.give(1)
            if isGivenUp { held.release() }
        }
        #expect(quarantine.take(upTo: 1) == 0)
        quarantine.give(1)
        #expect(quarantine.take(upTo: 1) == 1)
    }

    @Test func aParentLendsItsPlaceToItsChild() async throws {
        let clock = HandClock()
        let store = InMemoryWorkflowStore()
        let child = try Workflow("child") { WorkflowTask("t") { _ in } }
        let parent = try Workflow("parent") {
            WorkflowTask("p") { _, scope in try await scope.execute("child").completed() }
        }
        let (dead, now) = (UUID(), clock.now())
        let first = NewPipeline(parent, owner: dead, at: now)
        let key = ChildKey.make(parent: first.id, number: 1, task: "p", name: "child")
        var second = NewPipeline(
            child, owner: dead, options: ExecutionOptions(idempotencyKey: key), at: now.addingTimeInterval(1))
        second.parent = first.id
        _ = try await store.create([first, second])
        #expect(try await store.recover(dead, beats: 0, by: UUID(), at: now.addingTimeInterval(2)) == 2)
        await clock.advance(by: .seconds(3))
        let runner = try clock.runner(parent, child, store: store) {
            // The next death would be held against either at once; and the parent is to be there first.
            $0.maximumRecoveries = 0
            $0.maximumQueuedPipelines = 1
        }
        await runner.serveOnce()
        await clock.advance(by: .seconds(1))
        #expect(try await store.load(second.id)?.status == .completed)
        #expect(try await store.load(first.id)?.status == .completed)
        #expect(runner.quarantine.take(upTo: 1) == 1)
    }
}
