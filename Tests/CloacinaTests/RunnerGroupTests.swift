import CloacinaWorkflow
import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

/// Who is served, while tenants come and go.
@Suite(.timeLimit(.minutes(5))) struct RunnerGroupTests {
    private static func runner() throws -> DefaultRunner {
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        return try DefaultRunner(store: InMemoryWorkflowStore(), workflows: [workflow])
    }

    @Test func whoJoinsIsServedAndWhoLeavesIsEnded() async throws {
        let (first, second) = (try Self.runner(), try Self.runner())
        let group = RunnerGroup([first], drain: .zero)
        let waiting = try await second.enqueue("w").id
        let serving = Task { try await group.run() }
        #expect(try await first.result(of: first.enqueue("w").id).status == .completed)
        #expect(try await second.status(of: waiting) == .queued)

        try group.add(second)
        try group.add(second)
        #expect(group.runners.map(\.id) == [first.id, second.id])
        #expect(try await second.result(of: waiting).status == .completed)

        await group.remove(second)
        #expect(group.runners.map(\.id) == [first.id])
        await #expect { try await second.execute("w") } throws: { ($0 as? PipelineError)?.code == .released }
        #expect(try await first.result(of: first.enqueue("w").id).status == .completed)

        serving.cancel()
        try await serving.value
        #expect(throws: PipelineError.self) { try group.add(try Self.runner()) }
    }

    @Test func aGroupThatBeginsWithNobodyServesWhoComes() async throws {
        let group = RunnerGroup([], drain: .zero)
        let serving = Task { try await group.run() }
        let runner = try Self.runner()
        try group.add(runner)
        #expect(try await runner.result(of: runner.enqueue("w").id).status == .completed)
        serving.cancel()
        try await serving.value
    }

    /// A store whose deletions wait until they are let go.
    private final class SlowlyPrunedStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore = InMemoryWorkflowStore()
        let (begun, mayEnd) = (Tally(), Tally())

        func prune(endedBefore: Date, below bound: UUID, limit: Int) async throws(PipelineError) -> Int {
            self.begun.add()
            await self.mayEnd.reached(1)
            return try await self.underlying.prune(endedBefore: endedBefore, below: bound, limit: limit)
        }
    }

    /// A store whose tables somebody has locked, until they are let go.
    private final class LockedStore: ForwardingWorkflowStore {
        let underlying: any WorkflowStore = InMemoryWorkflowStore()
        let (looks, mayEnd) = (Tally(), Tally())

        func survey(everyOwner: Bool, at: Date) async throws(PipelineError) -> QueueSurvey {
            self.looks.add()
            await self.mayEnd.reached(1)
            return try await self.underlying.survey(everyOwner: everyOwner, at: at)
        }
    }

    /// And it isn't swept again before that is over.
    @Test func nobodysSweepsWaitForThatOfALockedTenant() async throws {
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        var configuration = RunnerConfiguration()
        configuration.sweepInterval = .milliseconds(10)
        let (plain, locked) = (InMemoryWorkflowStore(), LockedStore())
        let stuck = try DefaultRunner(store: locked, workflows: [], configuration: configuration)
        let other = try DefaultRunner(store: plain, workflows: [workflow], configuration: configuration)
        let serving = Task { try await RunnerGroup([stuck, other], drain: .zero).run() }
        await locked.looks.reached(1)
        let sender = try DefaultRunner(store: plain, workflows: [workflow])
        for _ in 0..<3 { #expect(try await other.result(of: sender.enqueue("w").id).status == .completed) }
        #expect(locked.looks.count == 1)
        locked.mayEnd.add()
        await locked.looks.reached(2)
        serving.cancel()
        try await serving.value
    }

    /// What others put into the queues is found by sweeps alone.
    @Test func nobodysSweepsWaitForADeletion() async throws {
        let workflow = try Workflow("w") { WorkflowTask("a") { _ in } }
        var configuration = RunnerConfiguration()
        configuration.sweepInterval = .milliseconds(10)
        let plain = InMemoryWorkflowStore()
        let crowded = SlowlyPrunedStore()
        let other = try DefaultRunner(store: plain, workflows: [workflow], configuration: configuration)
        configuration.retention = .seconds(60)
        let pruning = try DefaultRunner(store: crowded, workflows: [workflow], configuration: configuration)
        let serving = Task { try await RunnerGroup([pruning, other], drain: .zero).run() }
        await crowded.begun.reached(1)
        for (store, runner) in [(plain, other), (crowded, pruning)] as [(any WorkflowStore, DefaultRunner)] {
            let sender = try DefaultRunner(store: store, workflows: [workflow])
            for _ in 0..<3 {
                #expect(try await runner.result(of: sender.enqueue("w").id).status == .completed)
            }
        }
        #expect(crowded.begun.count == 1)
        crowded.mayEnd.add()
        serving.cancel()
        try await serving.value
    }
}
