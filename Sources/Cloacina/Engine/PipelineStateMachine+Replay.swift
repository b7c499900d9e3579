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
        switch event.kind {
        case .taskStarted: if !hasEnded { self.tasks[position].state = .running }
        case .taskCompleted:
            guard !hasEnded else { return }
            self.complete(position, event.delta ?? ContextDelta(), startedAt: event.startedAt, at: event.at)
        case .taskFailed:
            guard !hasEnded else { return }
            self.fail(position, event.detail ?? "", startedAt: event.startedAt, at: event.at)
        case .taskRetrying:
            guard !hasEnded else { return }
            self.retry(position, event.detail ?? "", due: event.dueAt ?? event.at, event.startedAt, event.at)
        case .taskInterrupted: if !hasEnded { self.tasks[position].state = .ready }
        case .taskSkipped:
            guard !hasEnded else { return }
            self.tasks[position].state = .skipped(SkipReason(text: event.detail ?? ""))
            self.open -= 1
        default: break
        }
    }

    private mutating func replayPipeline(_ event: PipelineEvent) {
        switch event.kind {
        case .pipelineCancelling: self.stop = .cancelled
        case .pipelineTimedOut: self.stop = .timedOut
        case .pipelineRecovered where event.detail == PipelineEvent.givenBack: self.replayGivingBack(at: event.at)
        case .pipelineRecovered:
            let mayHaveBegun = self.suspects.isEmpty
            for position in self.tasks.indices {
                switch self.tasks[position].state {
                case .running:  // said to have begun, and so one of the suspects already
                    self.tasks[position].interruptions += 1
                    self.tasks[position].state = .ready
                    self.suspects.insert(position)
                case .ready:
                    if mayHaveBegun { self.tasks[position].attempt += 1 }
                case .retrying(let due) where mayHaveBegun && due <= event.at:
                    self.tasks[position].attempt += 1
                    self.tasks[position].state = .ready
                default: break
                }
            }
            for position in self.tasks.indices where self.tasks[position].state == .ready {
                self.suspects.insert(position)
            }
        default: break
        }
    }

    /// Its runner lived: whatever may have begun counts as an attempt, and nothing is suspected.
    private mutating func replayGivingBack(at time: Date) {
        let mayHaveBegun = self.suspects.isEmpty
        for position in self.tasks.indices {
            switch self.tasks[position].state {
            case .running: self.tasks[position].state = .ready
            case .ready: if mayHaveBegun { self.tasks[position].attempt += 1 }
            case .retrying(let due) where mayHaveBegun && due <= time:
                self.tasks[position].attempt += 1
                self.tasks[position].state = .ready
            default: break
            }
        }
    }
}
