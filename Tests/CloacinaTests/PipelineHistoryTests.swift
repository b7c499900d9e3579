import FoundationEssentials
import Testing

@testable import Cloacina

@Suite struct PipelineHistoryTests {
    private let now = Date(timeIntervalSince1970: 1_000)

    private func event(
        _ kind: PipelineEvent.Kind, _ worker: UUID, _ second: Double, task: String? = nil
    ) -> PipelineEvent {
        PipelineEvent(kind, task: task, attempt: 1, worker: worker, at: self.now.addingTimeInterval(second))
    }

    /// What a crash after a task's own commit means for the attempts that it made ready depends on the order.
    @Test func anOwnCommitStandsBeforeItsRunnerLostThePipeline() {
        let (first, second) = (UUID(), UUID())
        var history = PipelineHistory()
        for event in [
            self.event(.pipelineStarted, first, 0), self.event(.pipelinePaused, first, 1),
            self.event(.pipelineStarted, first, 2), self.event(.pipelineRecovered, first, -50),
            self.event(.pipelineStarted, second, 4), self.event(.pipelineCompleted, second, 6),
        ] { history.append(event) }
        history.appendOwnCommit(self.event(.taskCompleted, first, 0.5, task: "in the first tenure"))
        history.appendOwnCommit(self.event(.taskCompleted, first, 3, task: "in the second"))
        history.appendOwnCommit(self.event(.taskCompleted, second, 5, task: "by the other"))
        #expect(
            history.events.map { $0.task ?? $0.kind.rawValue } == [
                "pipeline started", "in the first tenure", "pipeline paused", "pipeline started", "in the second",
                "pipeline recovered", "pipeline started", "by the other", "pipeline completed",
            ])
    }

    @Test func anOwnCommitOfARunnerThatTookThePipelineUpAgainStandsInItsLastTenure() {
        let runner = UUID()
        var history = PipelineHistory()
        for event in [
            self.event(.pipelineStarted, runner, 0), self.event(.pipelineRecovered, runner, 1),
            self.event(.pipelineStarted, runner, 2), self.event(.taskRetrying, runner, 3, task: "failed"),
            self.event(.pipelineRecovered, runner, 5),
        ] { history.append(event) }
        history.appendOwnCommit(self.event(.taskCompleted, runner, 4, task: "committed"))
        #expect(
            history.events.map { $0.task ?? $0.kind.rawValue } == [
                "pipeline started", "pipeline recovered", "pipeline started", "failed", "committed",
                "pipeline recovered",
            ])
    }

    /// Who takes a pipeline over says so by its own clock, and as its own doing.
    @Test(arguments: [-50.0, 2, 50]) func anOwnCommitStandsBeforeItsPipelineIsTakenOver(recovered: Double) {
        let (dead, rescuer, next) = (UUID(), UUID(), UUID())
        var history = PipelineHistory()
        for event in [
            self.event(.pipelineStarted, dead, 0),
            PipelineEvent(
                .pipelineRecovered, worker: rescuer, at: self.now.addingTimeInterval(recovered),
                detail: PipelineEvent.recovery(of: dead)),
            self.event(.pipelineStarted, next, 60), self.event(.pipelineCompleted, next, 62),
        ] { history.append(event) }
        history.appendOwnCommit(self.event(.taskCompleted, dead, 1, task: "by the dead"))
        history.appendOwnCommit(self.event(.taskCompleted, next, 61, task: "by the next"))
        #expect(
            history.events.map { $0.task ?? $0.kind.rawValue } == [
                "pipeline started", "by the dead", "pipeline recovered", "pipeline started", "by the next",
                "pipeline completed",
            ])
        #expect(history.events[2].worker == rescuer)
    }
}
