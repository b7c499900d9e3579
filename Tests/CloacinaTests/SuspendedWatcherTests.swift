import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

/// A runner that looks after others and overslept: its process was stopped, or its host was.
@Suite(.timeLimit(.minutes(5))) struct SuspendedWatcherTests {
    /// The owner's clock, which stands still as long as its process does.
    private let clock = HandClock()
    /// The watcher's clock, by which the leases are counted.
    private let watch = HandClock()
    private let shared = InMemoryWorkflowStore()
    private let mayEnd = Tally()
    private let begun = Tally()

    private func workflow() throws -> Workflow {
        try Workflow("w") {
            WorkflowTask("t") { _ in
                self.begun.add()
                await self.mayEnd.reached(1)
            }
        }
    }

    /// The watcher's looks, as far apart as a ``RunnerGroup`` has them, while both processes run.
    private func look(_ count: Int, _ watcher: DefaultRunner, ownerLives: Bool = true) async {
        for _ in 0..<count {
            if ownerLives { await self.clock.advance(by: .seconds(5)) }
            await self.watch.advance(by: .seconds(5))
            await watcher.serveOnce()
            await self.watch.settle()
        }
    }

    private func taken() async throws -> Int {
        var count = 0
        for summary in try await self.shared.list(PipelineQuery()) where summary.recoveries > 0 { count += 1 }
        return count
    }

    /// Stopped just after a look of the watcher's, for longer than any lease; the watcher is the first to go on, and looks
    /// a few times before the owner does anything.
    @Test(arguments: [21.0, 60, 3_600, 86_400], [1, 2, 3])
    func aWatcherThatOversleptTakesNothingFromTheLiving(seconds: Double, looksFirst: Int) async throws {
        let owner = try self.clock.runner(self.workflow(), store: self.shared)
        let watcher = try self.watch.runner(self.workflow(), store: self.shared)
        for _ in 0..<12 { _ = try await owner.executeAsync("w") }
        await self.look(6, watcher)
        #expect(try await self.taken() == 0)
        await self.watch.advance(by: .seconds(seconds))
        await watcher.serveOnce()
        await self.look(looksFirst - 1, watcher, ownerLives: false)
        await self.look(12, watcher)
        #expect(try await self.taken() == 0)
        self.mayEnd.add()
        await self.clock.settle()
        #expect(try await self.shared.list(PipelineQuery(statuses: [.completed])).count == 12)
        #expect(self.begun.count == 12)
    }

    /// The same watcher takes over what an owner has that died, when it has looked for the time of a lease since.
    @Test func aWatcherThatOversleptFindsTheDeadALeaseLater() async throws {
        let owner = try self.clock.runner(self.workflow(), store: self.shared)
        let watcher = try self.watch.runner(self.workflow(), store: self.shared)
        let execution = try await owner.executeAsync("w")
        await self.look(3, watcher)
        await self.watch.advance(by: .seconds(60))
        await watcher.serveOnce()
        await self.look(3, watcher, ownerLives: false)
        #expect(try await self.taken() == 0)
        await self.look(1, watcher, ownerLives: false)
        #expect(try await self.taken() == 1)
        #expect(try await self.shared.load(execution.id)?.owner == watcher.id)
        self.mayEnd.add()
    }
}
