import Cloacina
import FoundationEssentials
import Testing

@Suite struct PipelineStateMachineTests {
    private let owner = UUID()
    private let now = Date(timeIntervalSince1970: 1_000)

    /// `"d": ["b", "c"]` says that d comes after b and c; positions are the order of the keys.
    private func machine(_ tasks: KeyValuePairs<String, [String]>) throws -> PipelineStateMachine {
        let workflow = try Workflow("w", tasks: tasks.map { WorkflowTask($0.key, dependencies: $0.value) { _, _ in } })
        return PipelineStateMachine(ids: workflow.tasks.map(\.id), graph: workflow.graph, owner: self.owner)
    }

    private func completed(_ position: Int, epoch: Int = 1) -> PipelineStateMachine.Event {
        .ended(position: position, epoch: epoch, outcome: .completed(ContextDelta()), at: self.now)
    }

    private func failed(_ position: Int, epoch: Int = 1) -> PipelineStateMachine.Event {
        .ended(position: position, epoch: epoch, outcome: .failed("why"), at: self.now)
    }

    @Test func beginsWithTheRootsThatHaveASlot() throws {
        var machine = try self.machine(["a": [], "b": [], "c": ["a"]])
        let transition = try commit(&machine, 1)
        #expect(transition.expectedRevision == 0)
        #expect(transition.claimed.map(\.task) == ["a"])
        #expect(transition.claimed.map(\.epoch) == [1])
        #expect(transition.queued == ["b"])
        #expect(machine.tasks.map(\.state) == [.running(owner: self.owner, epoch: 1), .ready, .waiting])
        #expect(commitNothing(&machine, 0))
    }

    @Test func aTaskWaitsForAllItsDependencies() throws {
        var machine = try self.machine(["a": [], "b": [], "c": ["a", "b"]])
        _ = machine.commit(slots: 8)
        #expect(receive(&machine, self.completed(0)) == .accepted)
        let first = try commit(&machine, 8)
        #expect(first.claimed.isEmpty)
        #expect(first.status == .running)
        #expect(receive(&machine, self.completed(1)) == .accepted)
        let second = try commit(&machine, 8)
        #expect(second.expectedRevision == 2)
        #expect(second.ended.map(\.task) == ["b"])
        #expect(second.claimed.map(\.task) == ["c"])
        #expect(receive(&machine, self.completed(2)) == .accepted)
        #expect(try commit(&machine, 8).status == .completed)
        #expect(machine.status == .completed)
    }

    @Test func aFailureSkipsWhatDependsOnItAndNothingElse() throws {
        var machine = try self.machine(["a": [], "b": [], "c": ["a"], "d": ["c", "b"], "e": ["b"]])
        _ = machine.commit(slots: 8)
        #expect(receive(&machine, self.failed(0)) == .accepted)
        let transition = try commit(&machine, 8)
        #expect(transition.skipped == ["c", "d"])
        #expect(transition.skipReason == .dependencyFailed("a"))
        #expect(transition.status == .running)
        #expect(receive(&machine, self.completed(1)) == .accepted)
        #expect(try commit(&machine, 8).claimed.map(\.task) == ["e"])
        #expect(receive(&machine, self.completed(4)) == .accepted)
        #expect(try commit(&machine, 8).status == .failed)
    }

    @Test func oneTransitionSkipsForOneReason() throws {
        var machine = try self.machine(["a": [], "b": [], "c": ["a"], "d": ["b"], "e": []])
        _ = machine.commit(slots: 8)
        #expect(receive(&machine, self.failed(0)) == .accepted)
        #expect(receive(&machine, self.failed(1)) == .notYet)
        #expect(receive(&machine, self.failed(4)) == .accepted)
        #expect(try commit(&machine, 8).ended.map(\.task) == ["a", "e"])
        #expect(receive(&machine, self.failed(1)) == .accepted)
        let last = try commit(&machine, 8)
        #expect(last.skipped == ["d"])
        #expect(last.status == .failed)
    }

    @Test func aStaleReportHasNoEffect() throws {
        var machine = try self.machine(["a": [], "b": ["a"]])
        #expect(receive(&machine, self.completed(0)) == .staleLease)
        _ = machine.commit(slots: 8)
        for event in [self.completed(0, epoch: 0), self.failed(0, epoch: 2), self.completed(1), self.completed(7)] {
            #expect(receive(&machine, event) == .staleLease)
        }
        #expect(commitNothing(&machine, 8))
        #expect(receive(&machine, self.completed(0)) == .accepted)
        #expect(receive(&machine, self.completed(0)) == .staleLease)
    }

    @Test func cancellingSkipsWhatHasNotBegunAndWaitsForTheRest() throws {
        var machine = try self.machine(["a": [], "b": [], "c": ["a"]])
        _ = machine.commit(slots: 1)
        #expect(receive(&machine, .cancel) == .accepted)
        let transition = try commit(&machine, 8)
        #expect(transition.skipped == ["b", "c"])
        #expect(transition.claimed.isEmpty)
        #expect(transition.status == .running)
        #expect(receive(&machine, .cancel) == .accepted)
        #expect(receive(&machine, self.completed(0)) == .accepted)
        #expect(try commit(&machine, 8).status == .cancelled)
    }

    @Test func aCancelThatComesTooLateChangesNothing() throws {
        var machine = try self.machine(["a": []])
        _ = machine.commit(slots: 8)
        #expect(receive(&machine, .cancel) == .accepted)
        #expect(receive(&machine, self.completed(0)) == .accepted)
        #expect(try commit(&machine, 8).status == .completed)
        #expect(receive(&machine, .cancel) == .accepted)
        #expect(commitNothing(&machine, 8))
    }

    @Test func goesOnFromWhatIsStored() throws {
        let tasks = [
            TaskRecord(state: .completed, epoch: 1, attempt: 1),
            TaskRecord(state: .running(owner: self.owner, epoch: 3), epoch: 3, attempt: 2),
            TaskRecord(state: .ready), TaskRecord(),
        ]
        let fresh = try self.machine(["a": [], "b": [], "c": ["a"], "d": ["b", "c"]])
        var machine = PipelineStateMachine(
            ids: fresh.ids, graph: fresh.graph, owner: self.owner, status: .running, revision: 7, tasks: tasks)
        #expect(receive(&machine, self.completed(1, epoch: 3)) == .accepted)
        let transition = try commit(&machine, 8)
        #expect(transition.expectedRevision == 7)
        #expect(transition.claimed.map(\.task) == ["c"])
        #expect(receive(&machine, self.completed(2)) == .accepted)
        #expect(try commit(&machine, 8).claimed.map(\.task) == ["d"])
    }

    @Test func skipsAChainOfTenThousandTasks() throws {
        let tasks = (0..<10_000).map { index in
            WorkflowTask("t\(index)", dependencies: index == 0 ? [] : ["t\(index - 1)"]) { _, _ in }
        }
        let workflow = try Workflow("chain", tasks: tasks)
        var machine = PipelineStateMachine(ids: tasks.map(\.id), graph: workflow.graph, owner: self.owner)
        _ = machine.commit(slots: 1)
        #expect(receive(&machine, self.failed(0)) == .accepted)
        let transition = try commit(&machine, 1)
        #expect(transition.skipped.count == 9_999)
        #expect(transition.status == .failed)
    }

    /// Random graphs, completions in random order, failures, cancels, stale reports, and too few slots.
    @Test(arguments: 0..<300 as Range<UInt64>)
    func everyOrderOfEventsEndsAndRunsEachTaskAtMostOnce(seed: UInt64) async throws {
        var run = try MachineFuzz(seed: seed, owner: self.owner, now: self.now)
        try await run.toTheEnd()
    }
}

/// `#expect` can't call what mutates, but it can pass on what is changed.
private func receive(
    _ machine: inout PipelineStateMachine, _ event: PipelineStateMachine.Event
) -> PipelineStateMachine.Reception {
    machine.receive(event)
}

private func commit(_ machine: inout PipelineStateMachine, _ slots: Int) throws -> PipelineTransition {
    let transition = machine.commit(slots: slots)
    return try #require(transition)
}

private func commitNothing(_ machine: inout PipelineStateMachine, _ slots: Int) -> Bool {
    machine.commit(slots: slots) == nil
}

/// One pipeline driven by chance, beside a store that must agree with the machine at every step.
private struct MachineFuzz {
    private var generator: SeededGenerator
    private let workflow: Workflow
    private let store = InMemoryWorkflowStore()
    private let id = UUID()
    private let owner: UUID
    private let now: Date
    private var machine: PipelineStateMachine
    private var running: [Int: Int] = [:]
    private var begun: Set<Int> = []
    private var succeeded: Set<Int> = []

    init(seed: UInt64, owner: UUID, now: Date) throws {
        var generator = SeededGenerator(seed: seed)
        let count = Int.random(in: 1...30, using: &generator)
        let density = Int.random(in: 1...8, using: &generator)
        let tasks = (0..<count).map { index in
            let dependencies = (0..<index).filter { _ in Int.random(in: 0..<8, using: &generator) < density }
            return WorkflowTask("t\(index)", dependencies: dependencies.suffix(4).map { "t\($0)" }) { _, _ in }
        }.shuffled(using: &generator)
        self.workflow = try Workflow("random", tasks: tasks)
        self.machine = PipelineStateMachine(ids: tasks.map(\.id), graph: self.workflow.graph, owner: owner)
        self.generator = generator
        self.owner = owner
        self.now = now
    }

    mutating func toTheEnd() async throws {
        let slots = Int.random(in: 1...5, using: &self.generator)
        let first = try commit(&self.machine, slots)
        let pipeline = NewPipeline(
            id: self.id, workflow: "random", input: Context(), tasks: self.machine.ids, owner: self.owner, at: self.now,
            first: first)
        #expect(try await self.store.create(pipeline))
        try self.begin(first)
        var steps = 0
        while self.machine.status == .running {
            steps += 1
            try #require(steps < 10_000)
            self.deliverSomething()
            guard let transition = self.machine.commit(slots: max(0, slots - self.running.count)) else { continue }
            let change = PipelineChange(id: self.id, owner: self.owner, at: self.now, transition: transition)
            #expect(try await self.store.apply(change) == .applied)
            // What has been applied can't be applied again.
            #expect(try await self.store.apply(change) == .staleLease)
            try self.begin(transition)
            try await self.compare()
        }
        #expect(self.machine.tasks.allSatisfy { $0.state.status.isTerminal })
        #expect(self.running.isEmpty)
        #expect((self.machine.status == .completed) == (self.succeeded.count == self.machine.ids.count))
    }

    private mutating func begin(_ transition: PipelineTransition) throws {
        for claim in transition.claimed {
            let isFirst = self.begun.insert(claim.position).inserted
            #expect(isFirst)
            #expect(self.workflow.graph.dependencies[claim.position].allSatisfy { self.succeeded.contains($0) })
            self.running[claim.position] = claim.epoch
        }
    }

    private mutating func deliverSomething() {
        for _ in 0..<Int.random(in: 1...3, using: &self.generator) {
            let position = Int.random(in: self.machine.ids.indices, using: &self.generator)
            switch Int.random(in: 0..<40, using: &self.generator) {
            case 0: _ = self.machine.receive(.cancel)
            case 1..<5:
                let epoch = (self.running[position] ?? 0) + 1
                let event = PipelineStateMachine.Event.ended(
                    position: position, epoch: epoch, outcome: .completed(ContextDelta()), at: self.now)
                #expect(receive(&self.machine, event) == .staleLease)
            default:
                guard let (position, epoch) = self.running.sorted(by: <).randomElement(using: &self.generator) else {
                    continue
                }
                let fails = Int.random(in: 0..<12, using: &self.generator) == 0
                let outcome = fails ? TaskOutcome.failed("") : .completed(ContextDelta())
                let event = PipelineStateMachine.Event.ended(
                    position: position, epoch: epoch, outcome: outcome, at: self.now)
                guard self.machine.receive(event) == .accepted else { continue }
                self.running[position] = nil
                if !fails { self.succeeded.insert(position) }
            }
        }
    }

    private func compare() async throws {
        let stored = try #require(try await self.store.load(self.id))
        #expect(stored.revision == self.machine.revision)
        #expect(stored.status == self.machine.status)
        #expect(self.machine.ids.map { stored.tasks[$0]?.record } == self.machine.tasks)
    }
}

/// SplitMix64: the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
