import FoundationEssentials

/// Taking up a pipeline from its stored history.
extension PipelineStateMachine {
    /// Does again what the history says was done.
    ///
    /// A line is believed, not decided again: what follows from it has lines of its own. Only what has none is decided, at the end
    /// and where a recovery must know what could have begun, and becomes part of the next transition.
    mutating func replay(_ events: [PipelineEvent], at now: Date) {
        self.isReplaying = true
        for event in events {
            self.replay(event, at: now)
            self.replayedLines += 1
        }
        self.decide(at: now)
        self.isReplaying = false
        for position in self.unrecorded.sorted() {
            guard case .skipped(let reason) = self.tasks[position].state else { continue }
            self.write(
                .taskSkipped, position, attempt: self.tasks[position].attempt, at: now, reason: reason.code,
                detail: reason.text)
        }
        self.unrecorded = []
    }

    private mutating func replay(_ event: PipelineEvent, at now: Date) {
        guard let id = event.task else { return self.replayPipeline(event, at: now) }
        self.isTouched = true
        guard let position = self.workflow.position(of: id) else {
            return self.noteMisfit("the workflow has no task \"\(id)\"")
        }
        self.keep(event, position)
        let hasEnded = self.tasks[position].state.status.isTerminal
        self.tasks[position].attempt = max(self.tasks[position].attempt, event.attempt)
        guard !hasEnded else {
            // Whoever paused the pipeline may not have seen the attempt commit itself.
            let isKnown =
                event.kind == .taskSkipped && self.unrecorded.remove(position) != nil
                || event.kind == .taskInterrupted && event.reason == .refused
            if !isKnown { self.noteMisfit("\"\(id)\" has ended before") }
            return
        }
        if event.kind.known != .taskSkipped, self.tasks[position].state == .waiting, !self.mayHaveBegun(position) {
            self.noteMisfit("\"\(id)\" could not have begun: what it depends on has not ended so")
        }
        switch event.kind.known {
        case .taskStarted: self.tasks[position].state = .running
        case .taskCompleted:
            self.complete(position, event.delta ?? ContextDelta(), startedAt: event.startedAt, at: event.at)
        case .taskFailed: self.fail(position, event.detail ?? "", startedAt: event.startedAt, at: event.at)
        case .taskRetrying:
            self.retry(position, event.detail ?? "", due: event.dueAt ?? event.at, event.startedAt, event.at)
        case .taskInterrupted: self.tasks[position].state = .ready
        case .taskSkipped:
            self.close(position, SkipReason(event.reason ?? .rule, text: event.detail ?? ""), at: event.at)
            self.unrecorded.remove(position)
        default: self.noteMisfit("this version does not know the line \"\(event.kind.rawValue)\"")
        }
    }

    /// True when everything has happened that a task without a line waits for.
    private func mayHaveBegun(_ position: Int) -> Bool {
        guard self.workflow.tasks[position].triggerRule == nil else { return self.unsettled[position] == 0 }
        return self.graph.dependencies[position].allSatisfy { self.tasks[$0].state == .completed }
    }

    /// The first task that the history skips although this workflow would run it, or would not have decided about it yet, and the
    /// reason; nil when there is none. A replay believes such a line, whichever version wrote it. To be asked after a replay: what
    /// decides about a task has ended by then, and does not change.
    package mutating func contradictedSkip() -> (task: String, reason: String)? {
        let decided: Set<PipelineEvent.Reason> = [.rule, .dependencyFailed, .dependencySkipped]
        for position in self.tasks.indices {
            guard case .skipped(let skip) = self.tasks[position].state, decided.contains(skip.code) else { continue }
            let task = self.workflow.tasks[position]
            if let rule = task.triggerRule {
                guard self.unsettled[position] == 0 else {
                    return (task.id, "its rule is decided when everything above it has ended")
                }
                if self.holds(rule, for: position) { return (task.id, "its rule holds: \(rule)") }
            } else if !self.graph.dependencies[position].contains(where: { self.hasNotCompleted($0) }) {
                return (task.id, "nothing that it depends on has failed or was skipped")
            }
        }
        return nil
    }

    private func hasNotCompleted(_ position: Int) -> Bool {
        switch self.tasks[position].state {
        case .failed, .skipped: true
        case .waiting, .ready, .running, .retrying, .completed: false
        }
    }

    private mutating func noteMisfit(_ reason: String) {
        if self.misfit == nil { self.misfit = (self.replayedLines, reason) }
    }

    private mutating func replayPipeline(_ event: PipelineEvent, at now: Date) {
        switch event.kind.known {
        case .pipelineCancelling: self.stop = .cancelled
        case .pipelineTimedOut: self.stop = .timedOut
        // Whatever was said to have begun, and whoever wrote this: nothing runs any more under an earlier claim, or when one is given
        // up. Nothing has begun under a claim that nobody knew of.
        case .pipelineStarted, .pipelinePaused, .pipelineReleased: self.stopReplayed()
        case .pipelineRecovered where event.reason == .claimLost: self.stopReplayed()
        case .pipelineRecovered:
            self.decide(at: now)
            self.replayRecovery(hasDied: event.reason != .givenBack && event.reason != .runnerStopped, at: event.at)
        case .none: self.noteMisfit("this version does not know the line \"\(event.kind.rawValue)\"")
        default: break
        }
    }

    private mutating func stopReplayed() {
        for position in self.tasks.indices where self.tasks[position].state == .running {
            self.tasks[position].state = .ready
        }
    }

    /// Counts as an attempt whatever may have begun; when the runner died, it is suspected of having caused that.
    private mutating func replayRecovery(hasDied: Bool, at time: Date) {
        let mayHaveBegun = self.suspects.isEmpty
        for position in self.tasks.indices {
            switch self.tasks[position].state {
            case .running:  // said to have begun, and so one of the suspects already
                if hasDied { self.tasks[position].interruptions += 1 }
                self.tasks[position].state = .ready
            case .ready:
                if mayHaveBegun { self.tasks[position].attempt += 1 }
            case .retrying(let due) where mayHaveBegun && due <= time:
                self.tasks[position].attempt += 1
                self.tasks[position].state = .ready
            default: break
            }
        }
        guard hasDied else { return }
        for position in self.tasks.indices where self.tasks[position].state == .ready {
            self.suspects.insert(position)
        }
    }
}
