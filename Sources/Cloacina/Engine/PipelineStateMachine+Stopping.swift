import FoundationEssentials

/// Cancelling, pausing, timing out, and the end.
extension PipelineStateMachine {
    mutating func cancel(at: Date) {
        guard !self.stop.isFinal else { return }
        self.stop = .cancelled
        if self.runningCount > 0 { self.draft.events.append(self.event(.pipelineCancelling, at: at)) }
        self.skipUnbegun(.cancelled, at: at)
    }

    mutating func timeOut(at: Date) {
        guard !self.stop.isFinal else { return }
        self.stop = .timedOut
        self.draft.events.append(self.event(.pipelineTimedOut, at: at))
        self.skipUnbegun(.timedOut, at: at)
        self.giveUp(at: at, saying: SkipReason.timedOut.text)
    }

    mutating func giveUp(at: Date) {
        switch self.stop {
        case .none: return
        case .pausing, .releasing:
            for position in self.tasks.indices where self.tasks[position].state == .running {
                self.runningCount -= 1
                self.end(position, .interrupted, startedAt: at, at: at, random: 0)
            }
        case .cancelled, .timedOut: self.giveUp(at: at, saying: "it was cancelled and did not stop in time")
        }
    }

    private mutating func giveUp(at: Date, saying error: String) {
        for position in self.tasks.indices where self.tasks[position].state == .running {
            self.runningCount -= 1
            self.fail(position, error, startedAt: nil, at: at)
        }
    }

    mutating func skipUnbegun(_ reason: SkipReason, at: Date) {
        self.ready = ReadyQueue()
        for position in self.tasks.indices {
            switch self.tasks[position].state {
            case .waiting, .ready, .retrying:
                self.close(position, reason, at: at)
            case .running, .completed, .failed, .skipped: break
            }
        }
    }

    /// Ends the pipeline, or the claim on it, when nothing is left to wait for.
    mutating func settle(at: Date) {
        if self.open == 0 {
            self.status = self.finalStatus
            let kind: PipelineEvent.Kind =
                switch self.status {
                case .cancelled: .pipelineCancelled
                case .failed: .pipelineFailed
                default: .pipelineCompleted
                }
            self.draft.events.append(self.event(kind, at: at))
        } else if self.runningCount == 0, self.stop == .pausing {
            self.status = .paused
            self.draft.events.append(self.event(.pipelinePaused, at: at))
        } else if self.runningCount == 0, self.stop == .releasing {
            self.status = .queued
            // When only retries are left, the first of them decides.
            let isReady = self.tasks.contains { $0.state == .ready }
            self.draft.dueAt = isReady ? at : self.retries.map(\.due).min() ?? at
            self.draft.events.append(self.event(.pipelineReleased, at: at))
        }
    }

    private var finalStatus: PipelineStatus {
        let wasStopped = self.tasks.contains { task in
            if case .skipped(let reason) = task.state { reason == .cancelled || reason == .timedOut } else { false }
        }
        let hasFailed = self.tasks.contains { $0.state == .failed }
        if self.stop == .cancelled, wasStopped || hasFailed { return .cancelled }
        return hasFailed || wasStopped ? .failed : .completed
    }
}
