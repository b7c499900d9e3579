/// Puts a pipeline's events in the order in which they happened.
///
/// A completion that was committed with a task's own writes has no revision: it happened while its runner had the pipeline,
/// and so before the line that says that this runner lost it or gave it back.
struct PipelineHistory {
    private var numbered: [PipelineEvent] = []
    private var ownCommits: [PipelineEvent] = []

    mutating func append(_ event: PipelineEvent) { self.numbered.append(event) }

    mutating func appendOwnCommit(_ event: PipelineEvent) { self.ownCommits.append(event) }

    /// All of them.
    var events: [PipelineEvent] {
        var events = self.numbered
        for commit in self.ownCommits {
            // Its runner may have had the pipeline more than once.
            let begin =
                events.lastIndex { $0.kind == .pipelineStarted && $0.worker == commit.worker && $0.at <= commit.at }
                ?? events.startIndex
            let end = events[begin...].firstIndex { $0.endsTenure(of: commit) } ?? events.endIndex
            events.insert(commit, at: end)
        }
        return events
    }
}

extension PipelineEvent {
    /// Whether with this event the pipeline left the runner that wrote a completion, after it did.
    fileprivate func endsTenure(of commit: PipelineEvent) -> Bool {
        // That is written by whoever takes over.
        if self.kind == .pipelineRecovered { return true }
        guard self.worker == commit.worker else { return false }
        switch self.kind {
        case .pipelineReleased, .pipelinePaused, .pipelineCompleted, .pipelineFailed, .pipelineCancelled:
            return self.at >= commit.at
        default: return false
        }
    }
}
