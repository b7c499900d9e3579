import FoundationEssentials
import Testing

@testable import Cloacina

@Suite struct PipelineReportTests {
    private let begin = Date(timeIntervalSince1970: 1_000)

    private func at(_ seconds: Double) -> Date { self.begin.addingTimeInterval(seconds) }

    private func event(
        _ kind: PipelineEvent.Kind, _ task: String? = nil, attempt: Int = 1, startedAt: Double? = nil, at: Double,
        detail: String? = nil, dueAt: Double? = nil
    ) -> PipelineEvent {
        PipelineEvent(
            kind, task: task, attempt: task == nil ? 0 : attempt, startedAt: startedAt.map { self.at($0) },
            at: self.at(at), detail: detail, dueAt: dueAt.map { self.at($0) })
    }

    private func report(_ status: PipelineStatus = .running, _ events: PipelineEvent...) -> PipelineReport {
        var pipeline = StoredPipeline(
            NewPipeline(id: UUID(), workflow: "w", version: "v", input: Context(), owner: UUID(), at: self.begin))
        pipeline.status = status
        pipeline.endedAt = status.isTerminal ? self.at(9) : nil
        pipeline.events += events
        return PipelineReport(pipeline)
    }

    @Test func eachTaskIsWhereItsLastEventLeftItInTheOrderOfFirstAppearance() throws {
        let report = self.report(
            .failed, self.event(.taskCompleted, "b", startedAt: 1, at: 2),
            self.event(.taskRetrying, "a", startedAt: 1, at: 3, detail: "first", dueAt: 4),
            self.event(.taskFailed, "a", attempt: 2, startedAt: 4, at: 4.5, detail: "second"),
            self.event(.taskSkipped, "c", attempt: 0, at: 4.5, detail: "\"a\" failed"),
            self.event(.pipelineFailed, at: 9))
        #expect(report.tasks.map(\.id) == ["b", "a", "c"])
        #expect(report.tasks.map(\.status) == [.completed, .failed, .skipped])
        #expect(report.tasks.map(\.attempt) == [1, 2, 0])
        #expect(report.tasks.map(\.error) == [nil, "second", "\"a\" failed"])
        #expect(report.tasks.map(\.duration) == [.seconds(1), .seconds(0.5), nil])
        #expect(report.tasks[1].attempts.map(\.error) == ["first", "second"])
        #expect(report.duration == .seconds(9))
        #expect(report.history.count == 6)
    }

    @Test func aTaskThatRetriesHasItsErrorAndItsTime() {
        let task = self.report(
            .running, self.event(.taskRetrying, "a", startedAt: 1, at: 3, detail: "no", dueAt: 7)
        ).tasks[0]
        #expect(task.status == .retrying)
        #expect(task.error == "no")
        #expect(task.dueAt == self.at(7))
    }

    @Test func successForgetsTheErrorAndAShutdownIsNoFailure() {
        let tasks = self.report(
            .running, self.event(.taskRetrying, "a", at: 1, detail: "no", dueAt: 2),
            self.event(.taskCompleted, "a", attempt: 2, at: 3), self.event(.taskInterrupted, "b", at: 4)
        ).tasks
        #expect(tasks[0].error == nil)
        #expect(tasks[0].dueAt == nil)
        #expect(tasks[1].status == .ready)
        #expect(tasks[1].attempts.map(\.succeeded) == [false])
    }

    @Test func onlyAfterACrashIsATaskKnownToRun() {
        let running = self.report(
            .running, self.event(.pipelineRecovered, at: 1), self.event(.taskStarted, "a", attempt: 2, at: 2)
        ).tasks[0]
        #expect(running.status == .running)
        #expect(running.startedAt == self.at(2))
        #expect(running.duration == nil)
        let lost = self.report(
            .queued, self.event(.taskStarted, "a", attempt: 2, at: 2), self.event(.pipelineRecovered, at: 3)
        ).tasks[0]
        #expect(lost.status == .ready)
        #expect(lost.startedAt == nil)
        #expect(lost.attempt == 2)
    }

    /// The order is that of the lines, whatever the clocks of their runners said.
    @Test func linesStandInTheOrderInWhichTheyWereWritten() {
        let report = self.report(
            .completed, self.event(.taskCompleted, "first", startedAt: 3, at: 4),
            self.event(.taskCompleted, "second", startedAt: 1, at: 2), self.event(.pipelineCompleted, at: 3))
        #expect(report.tasks.map(\.id) == ["first", "second"])
        #expect(report.history.last?.kind == .pipelineCompleted)
    }

    @Test func nothingHappensToATaskAfterItsEnd() {
        let task = self.report(
            .cancelled, self.event(.taskSkipped, "a", at: 1, detail: "cancelled"), self.event(.taskStarted, "a", at: 2)
        ).tasks[0]
        #expect(task.status == .skipped)
        #expect(task.runningSince == nil)
    }

    private static let graph = WorkflowGraph(
        name: "w", nodes: ["a", "b", "c", "d"].map { .init(id: $0) },
        edges: [.init(from: "a", to: "b"), .init(from: "b", to: "c")])

    @Test(arguments: [
        (PipelineStatus.running, ["completed", "ready or running", "waiting", "ready or running"]),
        (.paused, ["completed", "ready", "waiting", "ready"]),
        (.cancelled, ["completed", "not in this run", "not in this run", "not in this run"]),
    ])
    func theArrowsTellMoreOfTasksWithoutAnEvent(_ status: PipelineStatus, _ states: [String]) {
        let report = self.report(status, self.event(.taskCompleted, "a", attempt: 3, startedAt: 1, at: 2))
        let runs = report.runs(in: Self.graph)
        #expect(Self.graph.nodes.map { runs[$0.id]?.state } == states)
        #expect(runs["a"] == WorkflowGraph.TaskRun(state: "completed", attempts: 3, duration: .seconds(1)))
    }

    @Test func tasksOfAnotherVersionAreNamed() {
        let report = self.report(
            .running, self.event(.taskCompleted, "x", at: 1), self.event(.taskCompleted, "a", at: 1))
        #expect(report.tasks(missingFrom: Self.graph) == ["x"])
    }
}
