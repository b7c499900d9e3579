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
        self.giveUp(at: at, saying: SkipReason.timedOut.text, .timedOut)
    }

    mutating func giveUp(at: Date) {
        switch self.stop {
        case .none: return
        case .pausing, .releasing:
            for position in self.tasks.indices where self.tasks[position].state == .running {
                self.runningCount -= 1
                self.end(position, .interrupted, startedAt: at, at: at, random: 0)
            }
        case .cancelled, .timedOut: self.giveUp(at: at, saying: "it was cancelled and did not stop in time", .cancelled)
        }
    }

    private mutating func giveUp(at: Date, saying error: String, _ reason: PipelineEvent.Reason) {
        for position in self.tasks.indices where self.tasks[position].state == .running {
            self.runningCount -= 1
            self.fail(position, error, reason: reason, startedAt: nil, at: at)
        }
        self.decide(at: at)
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
        // Nothing is left to decide about.
        self.decide(at: at)
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
            self.keepResult()
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

    /// The most bytes of JSON of a result that is stored with the end; one beyond is merged from the history when asked for.
    package static let maximumOutputBytes = 64 << 20

    /// Puts into the transition what the pipeline comes to, so that whoever reads it needs no code.
    private mutating func keepResult() {
        let outcomes = self.tasks.indices.map { position -> JSONValue in
            [.string(self.workflow.tasks[position].id), .string(self.tasks[position].state.status.rawValue)]
        }
        self.draft.outcomes = try? JSONValue.array(outcomes).jsonText()
        guard let output = try? self.ledger.final() else { return }
        self.output = output
        if output.byteCount <= Self.maximumOutputBytes { self.draft.output = output.jsonText }
    }

    private var finalStatus: PipelineStatus {
        var handled: Set<Int> = []
        for position in self.tasks.indices where self.tasks[position].state == .completed {
            handled.formUnion(self.workflow.tasks[position].handles.compactMap { self.workflow.position(of: $0) })
        }
        var (wasStopped, isUnhandled) = (false, false)
        for position in self.tasks.indices {
            switch self.tasks[position].state {
            case .skipped(let reason):
                if reason.code == .cancelled || reason.code == .timedOut { wasStopped = true }
            case .failed: if !handled.contains(position) { isUnhandled = true }
            default: break
            }
        }
        // One whose last task had failed before it was cancelled was not stopped by that.
        if self.stop == .cancelled, wasStopped || self.hasFailedWhileCancelling { return .cancelled }
        return isUnhandled || wasStopped ? .failed : .completed
    }
}
