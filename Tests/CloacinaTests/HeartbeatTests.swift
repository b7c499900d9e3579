import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// What a runner says of itself, and what it is told.
@Suite(.timeLimit(.minutes(5))) struct HeartbeatTests {
    /// A store that writes down what runners say of themselves.
    private final class DiaryStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore = InMemoryWorkflowStore()
        private let state = Mutex<[String]>([])

        var lines: [String] { self.state.withLock { $0 } }

        func beat(
            _ runner: UUID, number: Int, pipelines: [UUID], isStopping: Bool, at date: Date
        ) async throws(PipelineError) -> BeatAnswer {
            self.state.withLock { $0.append("beat \(number)") }
            return try await self.underlying.beat(
                runner, number: number, pipelines: pipelines, isStopping: isStopping, at: date)
        }

        func leave(_ runner: UUID) async throws(PipelineError) {
            self.state.withLock { $0.append("leave") }
            try await self.underlying.leave(runner)
        }
    }

    private let clock = HandClock()
    private let begun = Tally()
    private let mayEnd = Tally()

    /// The first run of its task ends when the test says so once, the second when it says so again.
    private func workflow() throws -> Workflow {
        try Workflow("w") {
            WorkflowTask("t") { _ in
                self.begun.add()
                await self.mayEnd.reached(self.begun.count)
            }
        }
    }

    @Test func aRunnerWithNothingToDoLeavesAndItsNumbersNeverRepeat() async throws {
        let store = DiaryStore()
        let runner = try self.clock.runner(self.workflow(), store: store)
        let interval = runner.configuration.heartbeatInterval
        for expected in [["beat 1", "beat 2", "beat 3", "leave"], ["beat 4", "beat 5", "beat 6", "leave"]] {
            let known = store.lines.count
            self.clock.begin { try await runner.execute("w") }
            await self.clock.advance(by: interval)
            #expect(try await store.beats(everyOwner: true).keys.contains(runner.id))
            self.mayEnd.add()
            await self.clock.advance(by: interval * 10)
            #expect(Array(store.lines.dropFirst(known)) == expected)
            #expect(try await store.beats(everyOwner: true).isEmpty)
        }
        #expect(self.clock.sleepers == 0)
    }

    /// Its task runs on, and nothing is written that could tell.
    @Test func aRunnerLearnsFromItsHeartbeatWhatItHasNoMore() async throws {
        let store = InMemoryWorkflowStore()
        let runner = try self.clock.runner(self.workflow(), store: store)
        let running = self.clock.begin { try await runner.execute("w") }
        await self.clock.settle()
        #expect(runner.activePipelines == 1)
        #expect(try await store.recover(runner.id, beats: 1, by: UUID(), at: self.clock.now()) == 1)
        await self.clock.advance(by: runner.configuration.heartbeatInterval)
        try #require(runner.activePipelines == 0)
        let error = await #expect(throws: PipelineError.self) { try await running.value }
        #expect(error?.code == .takenOver)
        // What the heartbeat made of it is not to take it from whoever has it by now.
        #expect(try await runner.list().map(\.status) == [.queued])
        self.mayEnd.add()
    }
}
