import FoundationEssentials
import Testing

@testable import Cloacina

@Suite struct PipelineHistoryTests {
    private func event(_ kind: PipelineEvent.Kind, _ task: String? = nil) -> PipelineEvent {
        PipelineEvent(kind, task: task, attempt: 1, at: Date(timeIntervalSince1970: 1_000))
    }

    /// Own commits are read before the history, so that one that is folded in meanwhile is found twice, never not at all.
    @Test func aCommitThatWasFoldedInWhileTheHistoryWasReadCountsOnce() {
        var history = PipelineHistory()
        history.appendCommit(self.event(.taskCompleted, "folded"))
        history.appendCommit(self.event(.taskCompleted, "apart"))
        for event in [
            self.event(.pipelineStarted), self.event(.taskRetrying, "apart"), self.event(.taskCompleted, "folded"),
        ] { history.append(event) }
        #expect(history.events.map(\.task) == [nil, "apart", "folded"])
        #expect(history.commits.map(\.task) == ["apart"])
    }
}
