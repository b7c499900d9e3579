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

    /// B9, security C6: so many that comparing each with each other would take hours.
    @Test(.timeLimit(.minutes(2))) func aHistoryOfVeryManyOwnCommitsIsPutTogetherInOnePass() {
        let count = 100_000
        var history = PipelineHistory()
        for number in 0..<count { history.appendCommit(self.event(.taskCompleted, "apart \(number)")) }
        history.appendCommit(self.event(.taskCompleted, "folded 0"))
        for number in 0..<count { history.append(self.event(.taskCompleted, "folded \(number)")) }
        #expect(history.events.count == count)
        #expect(history.commits.count == count)
    }

    /// The same, of the transition that folds them in: nobody is told of them a second time.
    @Test(.timeLimit(.minutes(2))) func whatIsNewsAmongVeryManyOwnCommitsIsFoundInOnePass() {
        let count = 100_000
        var transition = PipelineTransition(expectedRevision: 1)
        transition.events = (0..<count).map { self.event(.taskCompleted, "own \($0)") }
        transition.folds = transition.events.compactMap(\.task)
        transition.events += [
            self.event(.taskCompleted, "plain"), self.event(.taskFailed, "own 1"), self.event(.pipelineFailed),
        ]
        #expect(transition.untold.map(\.task) == ["plain", "own 1", nil])
        transition.folds = []
        #expect(transition.untold.count == count + 3)
    }
}
