import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// A runner that lives keeps what it has, however long a task takes and however closely another one watches.
@Suite(.timeLimit(.minutes(5))) struct LivingRunnerTests {
    /// A lease that is over with the next look, unless the runner has said something between the two.
    private static var configuration: RunnerConfiguration {
        var configuration = RunnerConfiguration()
        configuration.heartbeatInterval = .milliseconds(1)
        configuration.leaseDuration = .nanoseconds(1)
        return configuration
    }

    @Test func aLongTaskOfALivingRunnerIsNotTaken() async throws {
        let (begun, mayEnd) = (Tally(), Tally())
        let shared = InMemoryWorkflowStore()
        let store = BeatingStore(shared)
        let runs = Tally()
        let workflow = try Workflow("w") {
            WorkflowTask("long") { context, scope in
                runs.add()
                begun.add()
                await mayEnd.reached(1)
                try context.set("attempt", to: scope.attempt)
            }
        }
        let owner = try DefaultRunner(store: store, workflows: [workflow], configuration: Self.configuration)
        let watcher = try DefaultRunner(store: shared, workflows: [workflow], configuration: Self.configuration)
        let execution = try await owner.executeAsync("w")
        await begun.reached(1)
        await store.beats.reached(1)
        for _ in 0..<50 {
            await watcher.serveOnce()
            // Another sign of life, which was not on its way before.
            await store.beats.reached(store.beats.count + 2)
        }
        let stored = try #require(try await shared.load(execution.id))
        #expect(stored.owner == owner.id && stored.recoveries == 0 && stored.epoch == 1)
        mayEnd.add()
        let result = try await execution.result()
        #expect(result.status == .completed && result.finalContext["attempt"] == 1)
        #expect(runs.count == 1)
        #expect(try await owner.history(of: execution.id).map(\.kind).contains(.pipelineRecovered) == false)
    }

    /// The same, of a runner that nobody hears any more: the watch is one that takes.
    @Test func aLongTaskOfARunnerThatNobodyHearsIsTaken() async throws {
        let (begun, mayEnd) = (Tally(), Tally())
        let shared = InMemoryWorkflowStore()
        let store = BeatingStore(shared)
        let isFirst = Mutex(true)
        let workflow = try Workflow("w") {
            WorkflowTask("long") { context, scope in
                let mustWait = isFirst.withLock { isFirst in
                    defer { isFirst = false }
                    return isFirst
                }
                begun.add()
                if mustWait { await mayEnd.reached(1) }
                try context.set("attempt", to: scope.attempt)
            }
        }
        let owner = try DefaultRunner(store: store, workflows: [workflow], configuration: Self.configuration)
        let watcher = try DefaultRunner(store: shared, workflows: [workflow], configuration: Self.configuration)
        let execution = try await owner.executeAsync("w")
        await begun.reached(1)
        store.mute()
        await store.beats.reached(store.beats.count + 2)
        await watcher.serveOnce()
        #expect(try await shared.load(execution.id)?.recoveries == 0)
        await watcher.serveOnce()
        #expect(try await shared.load(execution.id)?.recoveries == 1)
        let result = try await watcher.result(of: execution.id)
        #expect(result.status == .completed && result.finalContext["attempt"] == 2)
        // What the first runner's task comes to counts no more.
        mayEnd.add()
        let end = await execution.waitHere()
        if case .broken(let error)? = end { #expect(error.code == .takenOver) } else { #expect(end == nil) }
        let kinds = try await watcher.history(of: execution.id).map(\.kind)
        #expect(kinds.count { $0 == .taskCompleted } == 1)
    }
}
