import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

/// A process that was asked to stop, and was killed before it had: that says nothing about what its tasks did.
@Suite(.timeLimit(.minutes(5))) struct StoppingRunnerTests {
    /// Lends a store of each kind that needs no server.
    private static func withStore(isFile: Bool, _ body: (any WorkflowStore) async throws -> Void) async throws {
        guard isFile else { return try await body(InMemoryWorkflowStore()) }
        try await withTemporaryDirectory { directory in
            try await body(try await SQLiteWorkflowStore(opening: directory.appending(path: "p.db")))
        }
    }

    @Test(arguments: [false, true], [true, false])
    func aKillAfterASignalToStopIsNoDeathOfTheTask(isFile: Bool, isStopping: Bool) async throws {
        let begun = Tally()
        let mayEnd = (1...6).map { _ in Tally() }
        mayEnd[5].add()
        let workflow = try Workflow("w") {
            WorkflowTask("t") { context, scope in
                begun.add()
                await mayEnd[scope.attempt - 1].reached(1)
                try context.set("attempt", to: scope.attempt)
            }
        }
        var configuration = RunnerConfiguration()
        // Only what begins or stops is said.
        configuration.heartbeatInterval = .seconds(1_800)
        configuration.leaseDuration = .seconds(3_600)
        try await Self.withStore(isFile: isFile) { shared in
            let rescuer = try DefaultRunner(store: shared, workflows: [workflow], configuration: configuration)
            let id = try await rescuer.enqueue("w").id
            for death in 1...5 {
                let store = BeatingStore(shared)
                let runner = try DefaultRunner(store: store, workflows: [workflow], configuration: configuration)
                await runner.serveOnce()
                await begun.reached(death)
                await store.beats.reached(1)
                let end = isStopping ? Task { await runner.shutDown(drain: .seconds(3_600)) } : nil
                if isStopping { await store.beats.reached(2) }
                // That is the end of the process, as others see it.
                let number = try #require(try await shared.beats(everyOwner: true)[runner.id])
                #expect(try await shared.recover(runner.id, beats: number, by: rescuer.id, at: Date()) == 1)
                let last = try #require(try await shared.load(id)?.events.last)
                #expect(last.kind == .pipelineRecovered)
                #expect(last.reason == (isStopping ? .runnerStopped : .runnerDied))
                mayEnd[death - 1].add()
                await end?.value
                await runner.shutDown(drain: .zero)
            }
            await rescuer.serveOnce()
            let result = try await rescuer.result(of: id)
            let history = try await rescuer.history(of: id)
            if isStopping {
                #expect(result.status == .completed && result.finalContext["attempt"] == 6)
                // Nobody is suspected of anything.
                #expect(!history.contains { $0.kind == .taskStarted })
            } else {
                #expect(result.status == .failed && begun.count == 5)
                #expect(history.contains { $0.kind == .taskStarted })
            }
            await rescuer.shutDown(drain: .zero)
        }
    }
}
