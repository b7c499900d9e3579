import FoundationEssentials
import TestSupport
import Testing

@testable import Cloacina

@Suite struct PipelineStateMachineTests {
    private let worker = UUID()
    private let now = Date(timeIntervalSince1970: 1_000)

    private static func workflow(_ tasks: KeyValuePairs<String, [String]>) throws -> Workflow {
        try Workflow("w", tasks: tasks.map { WorkflowTask($0.key, dependencies: $0.value) { _, _ in } })
    }

    /// `"d": ["b", "c"]` says that d comes after b and c; positions are the order of the keys.
    private func machine(_ tasks: KeyValuePairs<String, [String]>) throws -> PipelineStateMachine {
        PipelineStateMachine(workflow: try Self.workflow(tasks), input: Context(), worker: self.worker)
    }

    private func completed(_ position: Int, attempt: Int = 1) -> PipelineStateMachine.Event {
        .ended(
            position: position, attempt: attempt, outcome: .completed(ContextDelta()), startedAt: self.now,
            at: self.now, random: 1)
    }

    private func failed(_ position: Int, attempt: Int = 1, transient: Bool = false) -> PipelineStateMachine.Event {
        let failure = TaskFailure(text: "why", typeName: "E", isTransient: transient)
        return .ended(
            position: position, attempt: attempt, outcome: .failed(failure), startedAt: self.now, at: self.now,
            random: 1)
    }

    private func begin(_ machine: inout PipelineStateMachine, _ slots: Int = 8) -> [Int] {
        machine.begin(upTo: slots, at: self.now).map(\.position)
    }

    /// What the next transition writes: `kind task`.
    private func lines(_ machine: inout PipelineStateMachine) -> [String] {
        let events = machine.commit(at: self.now)?.events ?? []
        return events.map { [$0.kind.rawValue, $0.task].compactMap(\.self).joined(separator: " ") }
    }

    /// A pipeline as a store would have it after these events, claimed anew.
    private func stored(
        _ events: [PipelineEvent], revision: Int = 9, recoveries: Int = 0
    ) -> StoredPipeline {
        var pipeline = StoredPipeline(
            NewPipeline(id: UUID(), workflow: "w", version: "v", input: Context(), owner: self.worker, at: self.now))
        pipeline.revision = revision
        pipeline.recoveries = recoveries
        pipeline.events += events
        return pipeline
    }

    private func event(
        _ kind: PipelineEvent.Kind, _ task: String? = nil, attempt: Int = 1, delta: ContextDelta? = nil
    ) -> PipelineEvent {
        PipelineEvent(kind, task: task, attempt: task == nil ? 0 : attempt, at: self.now, delta: delta)
    }

    private func resumed(
        _ workflow: Workflow, _ events: [PipelineEvent], maximumRecoveries: Int = 3
    ) -> PipelineStateMachine {
        PipelineStateMachine(
            workflow: workflow, input: Context(), worker: self.worker, resuming: self.stored(events),
            maximumRecoveries: maximumRecoveries, at: self.now)
    }

    // MARK: Order

    @Test func beginsWithTheRootsThatHaveASlot() throws {
        var machine = try self.machine(["a": [], "b": [], "c": ["a"]])
        #expect(machine.startableCount == 2)
        #expect(self.begin(&machine, 1) == [0])
        #expect(machine.tasks.map(\.state) == [.running, .ready, .waiting])
        #expect(self.begin(&machine, 0) == [])
        #expect(self.begin(&machine) == [1])
        // What runs in a healthy process is not written before it ends.
        #expect(self.lines(&machine) == [])
    }

    @Test func aTaskWaitsForAllItsDependencies() throws {
        var machine = try self.machine(["a": [], "b": [], "c": ["a", "b"]])
        _ = self.begin(&machine)
        #expect(receive(&machine, self.completed(0)))
        #expect(self.begin(&machine) == [])
        #expect(self.lines(&machine) == ["task completed a"])
        #expect(receive(&machine, self.completed(1)))
        #expect(self.begin(&machine) == [2])
        #expect(self.lines(&machine) == ["task completed b"])
        #expect(receive(&machine, self.completed(2)))
        #expect(self.lines(&machine) == ["task completed c", "pipeline completed"])
        #expect(machine.status == .completed)
    }

    @Test func aFailureSkipsWhatDependsOnItAndNothingElse() throws {
        var machine = try self.machine(["a": [], "b": [], "c": ["a"], "d": ["c", "b"], "e": ["b"]])
        _ = self.begin(&machine)
        #expect(receive(&machine, self.failed(0)))
        #expect(self.lines(&machine) == ["task failed a", "task skipped c", "task skipped d"])
        #expect(machine.tasks[3].state == .skipped(.dependencyFailed("a")))
        #expect(receive(&machine, self.completed(1)))
        #expect(self.begin(&machine) == [4])
        #expect(receive(&machine, self.completed(4)))
        #expect(self.lines(&machine) == ["task completed b", "task completed e", "pipeline failed"])
        #expect(machine.status == .failed)
    }

    @Test func twoFailuresInOneCommitKeepTheirReasonsApart() throws {
        var machine = try self.machine(["a": [], "b": [], "c": ["a"], "d": ["b"]])
        _ = self.begin(&machine)
        #expect(receive(&machine, self.failed(0)))
        #expect(receive(&machine, self.failed(1)))
        let transition = try #require(commit(&machine))
        #expect(transition.events.filter { $0.kind == .taskSkipped }.map(\.detail) == ["\"a\" failed", "\"b\" failed"])
        #expect(transition.status == .failed)
    }

    @Test func aStaleReportHasNoEffect() throws {
        var machine = try self.machine(["a": [], "b": ["a"]])
        #expect(!receive(&machine, self.completed(0)))
        _ = self.begin(&machine)
        for event in [self.completed(0, attempt: 0), self.failed(0, attempt: 2), self.completed(1), self.completed(7)] {
            #expect(!receive(&machine, event))
        }
        #expect(self.lines(&machine) == [])
        #expect(receive(&machine, self.completed(0)))
        #expect(!receive(&machine, self.completed(0)))
    }

    @Test func aChainOfTenThousandTasksIsSkippedWithoutRecursion() throws {
        let workflow = try Workflow(
            "w",
            tasks: (0..<10_000).map { number in
                WorkflowTask("t\(number)", dependencies: number == 0 ? [] : ["t\(number - 1)"]) { _, _ in }
            })
        var machine = PipelineStateMachine(workflow: workflow, input: Context(), worker: self.worker)
        _ = self.begin(&machine)
        #expect(receive(&machine, self.failed(0)))
        #expect(commit(&machine)?.events.count == 10_001)
        #expect(machine.status == .failed)
    }

    // MARK: Stopping

    @Test func cancellingSkipsWhatHasNotBegunAndWaitsForTheRest() throws {
        var machine = try self.machine(["a": [], "b": [], "c": ["a"]])
        _ = self.begin(&machine, 1)
        #expect(receive(&machine, .cancel(at: self.now)))
        #expect(self.lines(&machine) == ["pipeline cancelling", "task skipped b", "task skipped c"])
        #expect(machine.status == .running)
        #expect(receive(&machine, self.completed(0)))
        #expect(self.lines(&machine) == ["task completed a", "pipeline cancelled"])
        #expect(machine.status == .cancelled)
    }

    @Test func aCancelThatComesTooLateChangesNothing() throws {
        var machine = try self.machine(["a": []])
        _ = self.begin(&machine)
        #expect(receive(&machine, .cancel(at: self.now)))
        #expect(receive(&machine, self.completed(0)))
        #expect(self.lines(&machine) == ["pipeline cancelling", "task completed a", "pipeline completed"])
        #expect(!receive(&machine, .cancel(at: self.now)))
        #expect(self.lines(&machine) == [])
    }

    @Test func aTaskThatDoesNotStopIsGivenUp() throws {
        var machine = try self.machine(["a": []])
        _ = self.begin(&machine)
        #expect(receive(&machine, .cancel(at: self.now)))
        #expect(receive(&machine, .giveUp(at: self.now)))
        _ = self.lines(&machine)
        #expect(machine.status == .cancelled)
        #expect(!receive(&machine, self.completed(0)))
    }

    @Test func cancellingStopsARetryAtOnce() throws {
        let workflow = try Workflow("w") {
            WorkflowTask("a", retry: .fixed(3, delay: .seconds(3_600))) { _ in }
        }
        var machine = PipelineStateMachine(workflow: workflow, input: Context(), worker: self.worker)
        _ = self.begin(&machine)
        machine.receive(self.failed(0))
        #expect(self.lines(&machine) == ["task retrying a"])
        machine.receive(.cancel(at: self.now))
        #expect(self.lines(&machine) == ["task skipped a", "pipeline cancelled"])
    }

    @Test func pausingLetsRunWhatRunsAndBeginsNothing() throws {
        var machine = try self.machine(["a": [], "b": ["a"]])
        _ = self.begin(&machine)
        #expect(receive(&machine, .pause))
        #expect(self.lines(&machine) == [])
        #expect(receive(&machine, self.completed(0)))
        #expect(self.begin(&machine) == [])
        #expect(self.lines(&machine) == ["task completed a", "pipeline paused"])
        #expect(machine.status == .paused)
    }

    @Test func releasingPutsThePipelineBackAndCountsNoFailure() throws {
        var machine = try self.machine(["a": [], "b": ["a"]])
        _ = self.begin(&machine)
        #expect(receive(&machine, .release))
        let interrupted = PipelineStateMachine.Event.ended(
            position: 0, attempt: 1, outcome: .interrupted, startedAt: self.now, at: self.now, random: 1)
        #expect(receive(&machine, interrupted))
        let transition = try #require(commit(&machine))
        #expect(transition.status == .queued)
        #expect(transition.dueAt == self.now)
        #expect(transition.events.map(\.kind) == [.taskInterrupted, .pipelineReleased])
        #expect(machine.tasks[0].failures == 0)
    }

    @Test func thePipelinesTimeEndsEverything() throws {
        var machine = try self.machine(["a": [], "b": ["a"]])
        _ = self.begin(&machine)
        #expect(receive(&machine, .timedOut(at: self.now)))
        #expect(
            self.lines(&machine) == [
                "pipeline timed out", "task skipped b", "task failed a", "pipeline failed",
            ])
        #expect(machine.status == .failed)
    }

    // MARK: Retries

    @Test func anAttemptFollowsUntilThePolicyIsExhausted() throws {
        let workflow = try Workflow("w") { WorkflowTask("a", retry: .fixed(3, delay: .seconds(7))) { _ in } }
        var machine = PipelineStateMachine(workflow: workflow, input: Context(), worker: self.worker)
        for attempt in 1...2 {
            #expect(self.begin(&machine) == [0])
            #expect(receive(&machine, self.failed(0, attempt: attempt)))
            #expect(machine.tasks[0].state == .retrying(due: self.now.addingTimeInterval(7)))
            #expect(self.begin(&machine) == [])
            let transition = try #require(commit(&machine))
            #expect(transition.events.map(\.kind) == [.taskRetrying])
            #expect(transition.events[0].dueAt == self.now.addingTimeInterval(7))
            #expect(transition.events[0].detail == "why")
            #expect(!receive(&machine, .retryDue(position: 0, attempt: attempt + 1)))
            #expect(receive(&machine, .retryDue(position: 0, attempt: attempt)))
        }
        #expect(self.begin(&machine) == [0])
        #expect(receive(&machine, self.failed(0, attempt: 3)))
        #expect(self.lines(&machine) == ["task failed a", "pipeline failed"])
        #expect(machine.attempts[0].map(\.number) == [1, 2, 3])
        #expect(machine.attempts[0].map(\.error) == ["why", "why", "why"])
    }

    @Test func onlyFailuresThatThePolicyNamesAreRetried() throws {
        let policy = RetryPolicy.fixed(5, delay: .zero).retrying(when: .transientOnly)
        let workflow = try Workflow("w") { WorkflowTask("a", retry: policy) { _ in } }
        var machine = PipelineStateMachine(workflow: workflow, input: Context(), worker: self.worker)
        _ = self.begin(&machine)
        machine.receive(self.failed(0, transient: true))
        machine.receive(.retryDue(position: 0, attempt: 1))
        _ = self.begin(&machine)
        machine.receive(self.failed(0, attempt: 2))
        #expect(self.lines(&machine) == ["task retrying a", "task failed a", "pipeline failed"])
    }

    @Test func oneConditionOfThePolicyIsEnough() throws {
        let policy = RetryPolicy.fixed(5, delay: .zero).retrying(when: .transientOnly, .errorPattern(["WHY"]))
        let other = RetryPolicy.fixed(5, delay: .zero).retrying(when: .transientOnly, .errorPattern(["gone"]))
        let workflow = try Workflow("w") {
            WorkflowTask("named", retry: policy) { _ in }
            WorkflowTask("transient", retry: other) { _ in }
            WorkflowTask("neither", retry: other) { _ in }
        }
        var machine = PipelineStateMachine(workflow: workflow, input: Context(), worker: self.worker)
        _ = self.begin(&machine)
        machine.receive(self.failed(0))
        machine.receive(self.failed(1, transient: true))
        machine.receive(self.failed(2))
        #expect(self.lines(&machine) == ["task retrying named", "task retrying transient", "task failed neither"])
    }

    // MARK: Rules

    @Test func aFallbackRunsWhenWhatItWatchesFailed() throws {
        let workflow = try Workflow("w") {
            WorkflowTask("charge") { _ in }
            WorkflowTask("refund", after: "charge", triggerRule: .taskFailed("charge")) { _ in }
            WorkflowTask("ship", after: "charge") { _ in }
            WorkflowTask("tell", after: "refund", "ship", triggerRule: .always) { _ in }
        }
        var failing = PipelineStateMachine(workflow: workflow, input: Context(), worker: self.worker)
        _ = self.begin(&failing)
        failing.receive(self.failed(0))
        #expect(self.begin(&failing) == [1])
        #expect(failing.tasks[2].state == .skipped(.dependencyFailed("charge")))
        failing.receive(self.completed(1))
        #expect(self.begin(&failing) == [3])

        var well = PipelineStateMachine(workflow: workflow, input: Context(), worker: self.worker)
        _ = self.begin(&well)
        well.receive(self.completed(0))
        #expect(self.begin(&well) == [2])
        #expect(well.tasks[1].state.status == .skipped)
        well.receive(self.completed(2))
        #expect(self.begin(&well) == [3])
        well.receive(self.completed(3))
        _ = well.commit(at: self.now)
        #expect(well.status == .completed)
    }

    @Test func aRuleSeesTheContextThatItsTaskWouldGet() throws {
        let workflow = try Workflow("w") {
            WorkflowTask("a") { _ in }
            WorkflowTask("big", after: "a", triggerRule: .contextValue("n", .greaterThan, 5)) { _ in }
            WorkflowTask("after", after: "big") { _ in }
        }
        for (number, status) in [(9, TaskStatus.ready), (3, .skipped)] {
            var machine = PipelineStateMachine(workflow: workflow, input: Context(), worker: self.worker)
            _ = self.begin(&machine)
            let delta = ContextDelta(["n": .set(.integer(Int64(number)))])
            machine.receive(
                .ended(
                    position: 0, attempt: 1, outcome: .completed(delta), startedAt: self.now, at: self.now, random: 0))
            #expect(machine.tasks[1].state.status == status)
            if status == .skipped { #expect(machine.tasks[2].state == .skipped(.dependencySkipped("big"))) }
        }
    }

    // MARK: Taking up

    @Test func goesOnFromItsHistory() throws {
        let workflow = try Self.workflow(["a": [], "b": [], "c": ["a"], "d": ["b", "c"]])
        let delta = ContextDelta(["x": .set(1)])
        var machine = self.resumed(workflow, [self.event(.taskCompleted, "a", delta: delta)])
        #expect(machine.revision == 9)
        #expect(machine.tasks.map(\.state) == [.completed, .ready, .ready, .waiting])
        #expect(try given(&machine, 2) == ["x": 1])
        #expect(Set(self.begin(&machine)) == [1, 2])
        #expect(self.lines(&machine) == [])
    }

    @Test func aHistoryReplayedGivesTheSameMachine() throws {
        let workflow = try Self.workflow(["a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": []])
        for seed in 0..<200 as Range<UInt64> {
            var generator = SeededGenerator(seed: seed)
            var machine = PipelineStateMachine(workflow: workflow, input: Context(), worker: self.worker)
            var history: [PipelineEvent] = []
            var running: [(Int, Int)] = []
            for _ in 0..<Int.random(in: 0...8, using: &generator) {
                running += machine.begin(upTo: 2, at: self.now).map { ($0.position, $0.attempt) }
                guard let (position, attempt) = running.popLast() else { break }
                machine.receive(
                    Bool.random(using: &generator)
                        ? self.completed(position, attempt: attempt) : self.failed(position, attempt: attempt))
                history += machine.commit(at: self.now)?.events ?? []
            }
            var pipeline = self.stored(history)
            pipeline.status = machine.status
            let replayed = PipelineStateMachine(
                workflow: workflow, input: Context(), worker: self.worker, resuming: pipeline, maximumRecoveries: 3,
                at: self.now)
            // What runs is written only when it ends.
            let expected = machine.tasks.map { $0.state == .running ? TaskState.ready : $0.state }
            #expect(replayed.tasks.map(\.state) == expected, "seed \(seed)")
            #expect(replayed.attempts == machine.attempts, "seed \(seed)")
        }
    }

    @Test func afterACrashTasksRunOneAtATimeAndSaySoBefore() throws {
        let workflow = try Self.workflow(["a": [], "b": [], "c": ["a", "b"]])
        var machine = self.resumed(workflow, [self.event(.pipelineRecovered)])
        #expect(machine.startableCount == 1)
        #expect(self.begin(&machine) == [0])
        #expect(machine.tasks[0].attempt == 2)
        #expect(self.lines(&machine) == ["task started a"])
        #expect(self.begin(&machine) == [])
        machine.receive(self.completed(0, attempt: 2))
        #expect(self.begin(&machine) == [1])
        machine.receive(self.completed(1, attempt: 2))
        // The suspects have ended; the rest runs as usual.
        #expect(self.begin(&machine) == [2])
        #expect(self.lines(&machine) == ["task completed a", "task started b", "task completed b"])
    }

    /// From the second death on, the pipelines of one process take turns: none takes another's deaths upon it.
    @Test func aSecondDeathMakesSuspectsGraveOnes() throws {
        let workflow = try Self.workflow(["a": []])
        let once = [self.event(.pipelineRecovered)]
        #expect(!self.resumed(workflow, once).hasGraveSuspects(maximumRecoveries: 3))
        #expect(self.resumed(workflow, once).hasGraveSuspects(maximumRecoveries: 0))
        let twice = once + [self.event(.taskStarted, "a"), self.event(.pipelineRecovered)]
        #expect(self.resumed(workflow, twice).hasGraveSuspects(maximumRecoveries: 3))
        #expect(!self.resumed(workflow, []).hasGraveSuspects(maximumRecoveries: 0))
    }

    @Test func whatALivingRunnerGaveBackSuspectsNobody() throws {
        let workflow = try Self.workflow(["a": [], "b": [], "c": ["a", "b"]])
        var event = self.event(.pipelineRecovered)
        event.reason = .givenBack
        var machine = self.resumed(workflow, Array(repeating: event, count: 10))
        #expect(self.begin(&machine) == [0, 1])
        // Each time the attempts may have begun: their numbers are not given again.
        #expect(machine.tasks[0].attempt == 11 && machine.tasks[0].interruptions == 0)
    }

    @Test func whatAnOwnCommitMadeReadyMayHaveBegunToo() throws {
        let workflow = try Self.workflow(["first": [], "pay": ["first"], "left": ["pay"], "right": ["pay"]])
        // The completion of pay was committed with its own writes; whoever found the runner dead folded it in.
        var machine = self.resumed(
            workflow,
            [
                self.event(.taskCompleted, "first"), self.event(.taskCompleted, "pay"),
                self.event(.taskCompleted, "left"),
                self.event(.pipelineRecovered),
            ])
        #expect(self.begin(&machine) == [3])
        #expect(machine.tasks[3].attempt == 2)
    }

    @Test func whatKillsProcessAfterProcessIsAbandonedAndTheRestGoesOn() throws {
        let workflow = try Self.workflow(["poison": [], "good": []])
        var events = [self.event(.pipelineRecovered)]
        for attempt in 2...3 {
            events += [self.event(.taskStarted, "poison", attempt: attempt), self.event(.pipelineRecovered)]
        }
        var patient = self.resumed(workflow, events, maximumRecoveries: 2)
        #expect(patient.tasks[0].interruptions == 2)
        #expect(self.begin(&patient) == [0])
        var machine = self.resumed(workflow, events, maximumRecoveries: 1)
        #expect(machine.tasks[0].state == .failed)
        #expect(machine.tasks[1].interruptions == 0)
        #expect(self.begin(&machine) == [1])
        machine.receive(self.completed(1, attempt: machine.tasks[1].attempt))
        #expect(self.lines(&machine).last == "pipeline failed")
    }

    /// A later attempt can kill as well as the first: it is a suspect when its time had come, and its number is spent.
    @Test func anAttemptThatWasDueAtACrashIsASuspect() throws {
        let workflow = try Self.workflow(["t": [], "u": ["t"]])
        for (due, isSuspect) in [(self.now, true), (self.now.addingTimeInterval(1), false)] {
            let retrying = PipelineEvent(
                .taskRetrying, task: "t", attempt: 1, worker: self.worker, at: self.now, detail: "once", dueAt: due)
            var machine = self.resumed(workflow, [retrying, self.event(.pipelineRecovered)])
            #expect(machine.tasks[0].state == (isSuspect ? .ready : .retrying(due: due)))
            if !isSuspect { machine.receive(.retryDue(position: 0, attempt: 1)) }
            #expect(self.begin(&machine) == [0])
            #expect(machine.tasks[0].attempt == (isSuspect ? 3 : 2))
            #expect(self.lines(&machine) == (isSuspect ? ["task started t"] : []))
        }
    }

    @Test func aCancelThatWasUnderWayGoesOnAfterACrash() throws {
        let workflow = try Self.workflow(["a": [], "b": ["a"]])
        var machine = self.resumed(
            workflow, [self.event(.pipelineCancelling), self.event(.taskSkipped, "b"), self.event(.pipelineRecovered)])
        #expect(self.lines(&machine) == ["task skipped a", "pipeline cancelled"])
    }

    /// A task that a history says has begun, and nothing more, does not run in a pipeline that was given back or stood still.
    @Test(arguments: [PipelineEvent.Kind.pipelinePaused, .pipelineReleased])
    func whatHadBegunBeforeAPipelineStoodStillBeginsAgain(_ kind: PipelineEvent.Kind) throws {
        let workflow = try Self.workflow(["a": []])
        let history = [self.event(.pipelineRecovered), self.event(.taskStarted, "a", attempt: 2), self.event(kind)]
        var machine = self.resumed(workflow, history)
        #expect(machine.tasks[0].interruptions == 0)
        #expect(self.begin(&machine) == [0])
        // Nobody has it while it stands still; what ends it then must end all of it.
        var cancelled = self.resumed(workflow, history)
        cancelled.receive(.cancel(at: self.now))
        #expect(self.lines(&cancelled) == ["task skipped a", "pipeline cancelled"])
    }

    /// What a workflow skips itself it never contradicts; another version may.
    @Test func aSkipIsContradictedByAVersionThatWouldRunTheTask() throws {
        func machine(_ dependencies: [String], rule: TriggerRule?, _ last: PipelineEvent) throws -> PipelineStateMachine
        {
            let workflow = try Workflow("w") {
                WorkflowTask("a") { _ in }
                WorkflowTask("b") { _ in }
                WorkflowTask("t", dependencies: dependencies, triggerRule: rule) { _, _ in }
            }
            return self.resumed(workflow, [self.event(.taskFailed, "a"), last])
        }
        func skip(_ reason: PipelineEvent.Reason) -> PipelineEvent {
            PipelineEvent(.taskSkipped, task: "t", at: self.now, reason: reason)
        }
        let table: [([String], TriggerRule?, PipelineEvent.Reason, String?)] = [
            (["a"], nil, .dependencyFailed, nil),
            (["a"], .taskSucceeded("a"), .rule, nil),
            (["a"], .taskSucceeded("a"), .dependencyFailed, nil),
            (["a", "b"], nil, .dependencyFailed, nil),
            (["a"], .taskFailed("a"), .dependencyFailed, "its rule holds"),
            (["a"], .always, .rule, "its rule holds"),
            (["b"], nil, .dependencyFailed, "nothing that it depends on"),
            ([], nil, .rule, "nothing that it depends on"),
            (["a", "b"], .taskSucceeded("a"), .rule, "its rule is decided"),
            (["b"], nil, .cancelled, nil), (["a"], .always, .timedOut, nil),
        ]
        for (dependencies, rule, reason, expected) in table {
            var machine = try machine(dependencies, rule: rule, skip(reason))
            let contradiction = machine.contradictedSkip()
            #expect((contradiction == nil) == (expected == nil), "\(dependencies) \(reason)")
            if let expected { #expect(contradiction?.reason.hasPrefix(expected) == true) }
        }
    }

    @Test func aCompletionThatIsStoredApartWaitsForTheNextTransitionToBeFoldedIn() throws {
        var machine = try self.machine(["a": [], "b": ["a"]])
        _ = self.begin(&machine)
        let delta = ContextDelta(["x": .set(1)])
        machine.receive(
            .ended(position: 0, attempt: 1, outcome: .committed(delta), startedAt: self.now, at: self.now, random: 0))
        #expect(self.begin(&machine) == [1])
        #expect(self.lines(&machine) == [])
        #expect(try given(&machine, 1) == ["x": 1])
        machine.receive(self.completed(1))
        let written = machine.commit(at: self.now)
        let transition = try #require(written)
        #expect(transition.folds == ["a"])
        #expect(transition.events.map(\.kind) == [.taskCompleted, .taskCompleted, .pipelineCompleted])
        #expect(transition.events.map(\.task) == ["a", "b", nil])
    }
}

// `#expect` can't call what mutates, but can call what is given an inout.

private func receive(_ machine: inout PipelineStateMachine, _ event: PipelineStateMachine.Event) -> Bool {
    machine.receive(event)
}

private func commit(_ machine: inout PipelineStateMachine) -> PipelineTransition? {
    machine.commit(at: Date(timeIntervalSince1970: 1_000))
}

private func given(_ machine: inout PipelineStateMachine, _ position: Int) throws -> [String: JSONValue] {
    try machine.given(to: position).values
}
