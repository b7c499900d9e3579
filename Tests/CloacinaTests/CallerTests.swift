import CloacinaWorkflow
import Synchronization
import TestSupport
import Testing

@testable import Cloacina

/// What goes on from a caller into what it starts, and what stays behind: the engine serves everybody.
@Suite(.timeLimit(.minutes(5))) struct CallerTests {
    private enum Caller {
        @TaskLocal static var name: String?
    }

    /// Who called when something happened.
    private final class Notes: Sendable {
        private let notes = Mutex<[String: Set<String>]>([:])

        func add(_ what: String) {
            self.notes.withLock { _ = $0[what, default: []].insert(Caller.name ?? "nobody") }
        }

        var callers: [String: Set<String>] { self.notes.withLock { $0 } }
    }

    private static func workflow(_ notes: Notes) throws -> Workflow {
        try Workflow("w") { WorkflowTask("t") { _ in notes.add("task") } }
    }

    private static func store(_ notes: Notes) -> HookedStore {
        HookedStore(
            InMemoryWorkflowStore(),
            before: { call throws(PipelineError) in
                if [.create, .claim, .apply].contains(call) { notes.add("\(call)") }
            })
    }

    @Test(arguments: [0, 10]) func whatIsEnqueuedHasNothingOfItsCallers(delay: Int) async throws {
        let (clock, notes) = (HandClock(), Notes())
        let runner = try clock.runner(Self.workflow(notes), store: Self.store(notes))
        clock.begin { await runner.serveOnce() }
        await clock.settle()
        let sending = Caller.$name.withValue("request") {
            clock.begin { try await runner.enqueue("w", options: ExecutionOptions(delay: .seconds(delay))).id }
        }
        let id = try await sending.value
        await clock.advance(by: .seconds(delay))
        #expect(try await runner.status(of: id) == .completed)
        #expect(
            notes.callers == ["create": ["nobody"], "claim": ["nobody"], "task": ["nobody"], "apply": ["nobody"]])
    }

    /// A trace goes on, but what is written is written with others' things.
    @Test func whatIsExecutedHasItsCallersTraceAndIsWrittenWithout() async throws {
        let (clock, notes) = (HandClock(), Notes())
        let runner = try clock.runner(Self.workflow(notes), store: Self.store(notes))
        let execution = Caller.$name.withValue("request") { clock.begin { try await runner.execute("w") } }
        #expect(try await execution.value.status == .completed)
        #expect(notes.callers == ["create": ["nobody"], "task": ["request"], "apply": ["nobody"]])
    }

    /// Who is in no hurry does not make others wait.
    @Test func whatIsEnqueuedInTheBackgroundIsNotRunThere() async throws {
        let priorities = Mutex<[TaskPriority]>([])
        let workflow = try Workflow("w") {
            WorkflowTask("t") { _ in priorities.withLock { $0.append(Task.currentPriority) } }
        }
        let clock = HandClock()
        let runner = try clock.runner(workflow, store: InMemoryWorkflowStore())
        clock.begin { await runner.serveOnce() }
        await clock.settle()
        let sending = Task(executorPreference: clock.executor, priority: .background) {
            try await runner.enqueue("w").id
        }
        // Whoever waits for a task lends it a priority.
        await clock.settle()
        let seen = priorities.withLock { $0 }
        #expect(seen.count == 1 && seen.allSatisfy { $0 > .background }, "\(seen)")
        #expect(try await runner.status(of: sending.value) == .completed)
    }

    /// A task that has started another pipeline works on, in its slot, whatever that one's handlers wait for.
    @Test func aHandlerThatWaitsDoesNotLendTheSlotOfWhoStartedItsPipeline() async throws {
        let (clock, begun, mayEnd) = (HandClock(), Tally(), Tally())
        let last = try Workflow("last") {
            for name in ["a", "b"] {
                WorkflowTask(name) { _ in
                    begun.add()
                    await mayEnd.reached(1)
                }
            }
        }
        let holder = Mutex<DefaultRunner?>(nil)
        let started = try Workflow(
            "started",
            tasks: [
                WorkflowTask(
                    "t", dependencies: [],
                    onSuccess: { _, _ in
                        guard let runner = holder.withLock({ $0 }) else { return }
                        _ = try? await runner.execute("last")
                    }, run: { _, _ in })
            ])
        let starting = try Workflow("starting") {
            WorkflowTask("s") { _ in
                let runner = try #require(holder.withLock { $0 })
                _ = try await runner.executeAsync("started")
                await mayEnd.reached(1)
            }
        }
        let runner = try clock.runner(last, started, starting, store: InMemoryWorkflowStore()) {
            $0.maximumConcurrentTasks = 2
        }
        holder.withLock { $0 = runner }
        defer { holder.withLock { $0 = nil } }
        let execution = clock.begin { try await runner.execute("starting") }
        await clock.settle()
        // The other slot is that of the task that started all this.
        #expect(begun.count == 1)
        mayEnd.add()
        #expect(try await execution.value.status == .completed)
        await clock.settle()
        #expect(begun.count == 2)
        #expect(try await runner.list().map(\.status) == [.completed, .completed, .completed])
    }
}
