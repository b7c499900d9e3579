import FoundationEssentials

/// Taking up a pipeline from its stored history.
extension PipelineStateMachine {
    /// Does again what the history says was done.
    mutating func replay(_ event: PipelineEvent) {
        guard let id = event.task else { return self.replayPipeline(event) }
        guard let position = self.workflow.position(of: id) else { return }
        self.keep(event, position)
        let hasEnded = self.tasks[position].state.status.isTerminal
        self.tasks[position].attempt = max(self.tasks[position].attempt, event.attempt)
        guard !hasEnded else { return }
        switch event.kind {
        case .taskStarted: self.tasks[position].state = .running
        case .taskCompleted:
            self.complete(position, event.delta ?? ContextDelta(), startedAt: event.startedAt, at: event.at)
        case .taskFailed: self.fail(position, event.detail ?? "", startedAt: event.startedAt, at: event.at)
        case .taskRetrying:
            self.retry(position, event.detail ?? "", due: event.dueAt ?? event.at, event.startedAt, event.at)
        case .taskInterrupted: self.tasks[position].state = .ready
        case .taskSkipped:
            self.tasks[position].state = .skipped(SkipReason(text: event.detail ?? ""))
            self.open -= 1
        default: break
        }
    }

    private mutating func replayPipeline(_ event: PipelineEvent) {
        switch event.kind {
        case .pipelineCancelling: self.stop = .cancelled
        case .pipelineTimedOut: self.stop = .timedOut
        case .pipelineRecovered: self.replayRecovery(hasDied: event.detail != PipelineEvent.givenBack, at: event.at)
        default: break
        }
    }

    /// Whatever may have begun counts as an attempt; when the runner died, it is suspected of having caused that.
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
