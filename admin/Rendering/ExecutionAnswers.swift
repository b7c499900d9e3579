import Cloacina
import CloacinaWorkflow
import FoundationEssentials

/// One line of `execution list`.
struct ExecutionLine: Renderable, Equatable {
    let id: String
    let workflow: String
    let version: String
    let state: String
    let createdAt: String
    let startedAt: String?
    let endedAt: String?
    let durationMicroseconds: Int64?
    let recoveries: Int

    static let headings = ["id", "workflow", "version", "state", "created", "started", "took", "recoveries"]

    var cells: [String] {
        [
            self.id, self.workflow, String(self.version.prefix(12)), self.state, self.createdAt, self.startedAt ?? "-",
            self.durationMicroseconds.brief, String(self.recoveries),
        ]
    }

    init(_ summary: PipelineSummary) {
        self.id = summary.id.text
        self.workflow = summary.workflow
        self.version = summary.version
        self.state = summary.status.rawValue
        self.createdAt = summary.createdAt.text
        self.startedAt = summary.startedAt?.text
        self.endedAt = summary.endedAt?.text
        if let startedAt = summary.startedAt, let endedAt = summary.endedAt {
            // can't trap: the database's times are finite, and less than a million years apart
            let duration = Duration.seconds(max(0, endedAt.timeIntervalSince(startedAt)))
            self.durationMicroseconds = duration.wholeMicroseconds
        } else {
            self.durationMicroseconds = nil
        }
        self.recoveries = summary.recoveries
    }
}

/// A page of `execution list`, made from one line more than fits.
struct ExecutionPage {
    let lines: [ExecutionLine]
    /// What continues it; nil on the last page.
    let next: String?

    init(_ found: [PipelineSummary], limit: Int) {
        self.lines = found.prefix(limit).map { ExecutionLine($0) }
        self.next = found.count > limit ? self.lines.last?.id : nil
    }
}

/// One line of `execution stranded`.
struct StrandedLine: Renderable, Equatable {
    let workflow: String
    /// Missing when no task has begun: every version may take them.
    let version: String?
    /// The number of them, as far as they are counted.
    let pipelines: Int
    let hasMore: Bool
    let waitingSince: String
    let longestWaiting: String
    /// True when a newer build wrote them, which alone can read them.
    let isOfNewerFormat: Bool

    static let headings = ["workflow", "version", "pipelines", "waiting since", "longest waiting"]

    var cells: [String] {
        [
            self.workflow,
            (self.version.map { String($0.prefix(12)) } ?? "any") + (self.isOfNewerFormat ? " (newer)" : ""),
            "\(self.pipelines)\(self.hasMore ? "+" : "")", self.waitingSince, self.longestWaiting,
        ]
    }

    init(_ group: WaitingGroup) {
        self.workflow = group.workflow
        self.version = group.version
        self.pipelines = group.count
        self.hasMore = group.hasMore
        self.waitingSince = group.since.text
        self.longestWaiting = group.longest.text
        self.isOfNewerFormat = group.format > StoredLimits.format
    }

    /// Pending as long as anything waits.
    static func status(of lines: [StrandedLine]) -> CommandStatus { lines.isEmpty ? .done : .pending }
}

/// What `execution show` says.
struct ExecutionAnswer: Encodable {
    struct Attempt: Encodable {
        let number: Int
        /// `completed`, `failed` or `interrupted`.
        let outcome: String
        let startedAt: String?
        let endedAt: String
        let durationMicroseconds: Int64?
        let error: String?
        let runner: String?
    }

    struct TaskLine: Encodable {
        let id: String
        let state: String
        /// How many were begun, as far as is known.
        let attemptsBegun: Int
        let startedAt: String?
        let endedAt: String?
        let durationMicroseconds: Int64?
        let dueAt: String?
        let error: String?
        let attempts: [Attempt]
    }

    struct Event: Encodable {
        let at: String
        let kind: String
        let task: String?
        let attempt: Int?
        let startedAt: String?
        let dueAt: String?
        let runner: String?
        let detail: String?
    }

    let id: String
    let workflow: String
    let version: String
    let state: String
    let createdAt: String
    let startedAt: String?
    let endedAt: String?
    let durationMicroseconds: Int64?
    let dueAt: String?
    let recoveries: Int
    let priority: Int
    let timeoutMicroseconds: Int64?
    let runner: String?
    /// `cancel` or `pause`, when the runner has been asked and has not done it yet.
    let request: String?
    let idempotencyKey: String?
    let tasks: [TaskLine]
    /// Missing unless asked for.
    let history: [Event]?
}

extension ExecutionAnswer {
    init(_ report: PipelineReport, withHistory: Bool) {
        let pipeline = report.pipeline
        self.init(
            id: pipeline.id.text, workflow: pipeline.workflow, version: pipeline.version,
            state: pipeline.status.rawValue, createdAt: pipeline.createdAt.text, startedAt: pipeline.startedAt?.text,
            endedAt: pipeline.endedAt?.text, durationMicroseconds: report.duration?.wholeMicroseconds,
            dueAt: pipeline.dueAt?.text, recoveries: pipeline.recoveries, priority: pipeline.priority,
            timeoutMicroseconds: pipeline.timeout?.wholeMicroseconds, runner: pipeline.owner?.text,
            request: pipeline.status == .running ? pipeline.request?.rawValue : nil,
            idempotencyKey: pipeline.idempotencyKey, tasks: report.tasks.map { TaskLine($0) },
            history: withHistory ? report.history.map { Event($0) } : nil)
    }

    /// The run, its tasks, the attempts where one task had several, and the history where it is asked for.
    var tables: [TextTable] {
        var tables = [TextTable(nil, rows: self.details.map { [$0.0, $0.1] })]
        if !self.tasks.isEmpty {
            tables.append(
                TextTable(
                    ["task", "state", "attempts", "started", "ended", "took", "error or reason"],
                    rows: self.tasks.map(\.cells)))
        }
        if self.tasks.contains(where: { $0.attempts.count > 1 }) {
            tables.append(
                TextTable(
                    ["task", "attempt", "outcome", "started", "ended", "took", "error"],
                    rows: self.tasks.flatMap { task in task.attempts.map { [task.id] + $0.cells } }))
        }
        if let history {
            tables.append(
                TextTable(["at", "event", "task", "attempt", "runner", "detail"], rows: history.map(\.cells)))
        }
        return tables
    }

    private var details: [(String, String)] {
        let always: [(String, String?)] = [
            ("id", self.id), ("workflow", self.workflow), ("version", self.version),
            ("state", self.request.map { "\(self.state), asked to \($0)" } ?? self.state), ("created", self.createdAt),
            ("started", self.startedAt ?? "-"), ("ended", self.endedAt ?? "-"),
            ("took", self.durationMicroseconds.brief),
            ("recoveries", String(self.recoveries)),
        ]
        let sometimes: [(String, String?)] = [
            ("due", self.dueAt), ("runner", self.runner),
            ("priority", self.priority == 0 ? nil : String(self.priority)),
            ("timeout", self.timeoutMicroseconds == nil ? nil : self.timeoutMicroseconds.brief),
            ("idempotency key", self.idempotencyKey),
        ]
        return (always + sometimes).compactMap { name, value in value.map { (name, $0) } }
    }
}

extension ExecutionAnswer.Attempt {
    init(_ attempt: TaskAttempt) {
        self.init(
            number: attempt.number,
            outcome: attempt.succeeded ? "completed" : attempt.error == nil ? "interrupted" : "failed",
            startedAt: attempt.startedAt?.text, endedAt: attempt.endedAt.text,
            durationMicroseconds: attempt.duration?.wholeMicroseconds, error: attempt.error,
            runner: attempt.worker?.text)
    }

    var cells: [String] {
        [
            String(self.number), self.outcome, self.startedAt ?? "-", self.endedAt, self.durationMicroseconds.brief,
            self.error ?? "-",
        ]
    }
}

extension ExecutionAnswer.TaskLine {
    init(_ entry: PipelineReport.TaskEntry) {
        self.init(
            id: entry.id, state: entry.status.rawValue, attemptsBegun: entry.attempt, startedAt: entry.startedAt?.text,
            endedAt: entry.endedAt?.text, durationMicroseconds: entry.duration?.wholeMicroseconds,
            dueAt: entry.dueAt?.text, error: entry.error, attempts: entry.attempts.map { .init($0) })
    }

    var cells: [String] {
        let error = [self.dueAt.map { "due \($0)" }, self.error].compactMap { $0 }.joined(separator: "; ")
        return [
            self.id, self.state, String(self.attemptsBegun), self.startedAt ?? "-", self.endedAt ?? "-",
            self.durationMicroseconds.brief, error.isEmpty ? "-" : error,
        ]
    }
}

extension ExecutionAnswer.Event {
    init(_ event: PipelineEvent) {
        self.init(
            at: event.at.text, kind: event.kind.rawValue, task: event.task,
            attempt: event.attempt == 0 ? nil : event.attempt, startedAt: event.startedAt?.text,
            dueAt: event.dueAt?.text, runner: event.worker?.text, detail: event.detail)
    }

    var cells: [String] {
        let detail = [self.dueAt.map { "due \($0)" }, self.detail].compactMap { $0 }.joined(separator: "; ")
        return [
            self.at, self.kind, self.task ?? "-", self.attempt.map { String($0) } ?? "-", self.runner ?? "-",
            detail.isEmpty ? "-" : detail,
        ]
    }
}

extension Date {
    /// The time to the millisecond, in UTC.
    fileprivate var text: String { self.formatted(.iso8601WithMilliseconds) }
}

extension FormatStyle where Self == Date.ISO8601FormatStyle {
    fileprivate static var iso8601WithMilliseconds: Self { Date.ISO8601FormatStyle(includingFractionalSeconds: true) }
}

extension Int64? {
    /// So many microseconds as people read them; `-` for none.
    fileprivate var brief: String {
        self.map { Duration.microseconds($0).brief } ?? "-"  // can't trap: a whole number
    }
}
