import Cloacina
import FoundationEssentials

/// Replays a stored history, as a whole and up to each revision, and says what does not fit together.
struct HistoryReplay {
    /// A version that the pipeline had, from a line on.
    struct Era {
        let line: Int
        let version: String
        let workflow: Workflow
    }

    private let stored: StoredPipeline
    private let eras: [Era]
    /// The workflow as it was in the end.
    private let workflow: Workflow
    /// How many lines there are at each revision.
    private let revisions: [Int]
    /// Whether the history has a line for each task.
    private let isWhole: Bool
    private let whole: PipelineStateMachine

    /// - Parameter eras: One or more.
    init(_ stored: StoredPipeline, eras: [Era], revisions: [Int], isWhole: Bool) {
        let last = eras[eras.count - 1]
        self.stored = stored
        self.eras = eras
        self.workflow = last.workflow
        self.revisions = revisions
        self.isWhole = isWhole
        self.whole = Self.replay(stored, stored.events.count, last.workflow, as: stored.status)
    }

    /// Replays the first lines. What a pipeline is that stands still decides nothing beyond what its lines say.
    private static func replay(
        _ stored: StoredPipeline, _ lines: Int, _ workflow: Workflow, as status: PipelineStatus
    ) -> PipelineStateMachine {
        var part = stored
        part.status = status
        part.events = Array(stored.events.prefix(lines))
        return PipelineStateMachine(
            workflow: workflow, input: Context(stored.input, byteLimit: .max), worker: stored.id, resuming: part,
            maximumRecoveries: .max, at: stored.endedAt ?? stored.createdAt)
    }

    /// - Parameter read: The result as it is read.
    func problems(read: String) -> [String] {
        var problems: [String] = []
        if self.revisions.last != self.stored.events.count {
            problems.append("\(self.revisions) lines at its revisions, \(self.stored.events.count) in all")
        }
        if zip(self.revisions, self.revisions.dropFirst()).contains(where: { $0 == $1 }) || self.revisions.first == 0 {
            problems.append("a revision has no line: \(self.revisions)")
        }
        problems += self.lineProblems()
        problems += self.prefixProblems()
        if self.isWhole { problems += self.endProblems(read: read) }
        return problems
    }

    // MARK: Lines

    private func lineProblems() -> [String] {
        var problems: [String] = []
        for task in self.workflow.tasks {
            let lines = self.stored.events.filter { $0.task == task.id }
            let ends = lines.count(where: \.isEnd)
            if ends > 1 || self.isWhole && ends != 1 { problems.append("\(task.id) has \(ends) outcomes") }
            if ends > 0, lines.last?.isEnd == false { problems.append("\(task.id) has lines after its end") }
            problems += self.attemptProblems(lines, of: task.id)
        }
        let known = Set(self.workflow.tasks.map(\.id))
        let strangers = Set(self.stored.events.compactMap(\.task)).subtracting(known)
        if !strangers.isEmpty { problems.append("lines of tasks that it doesn't have: \(strangers)") }
        return problems
    }

    /// A number is given once, and in order; none is left out where no runner was lost.
    private func attemptProblems(_ lines: [PipelineEvent], of task: String) -> [String] {
        let begun = lines.filter { $0.kind == .taskStarted }.map(\.attempt)
        // Who gives a task up names its last attempt, which may have ended before.
        let ended = lines.filter { $0.kind != .taskStarted && $0.kind != .taskSkipped && $0.reason != .abandoned }
            .map(\.attempt)
        let isRising = [begun, ended].allSatisfy { zip($0, $0.dropFirst()).allSatisfy { $0 < $1 } }
        let isLost = self.stored.events.contains { $0.kind == .pipelineRecovered }
        guard isRising, isLost || ended == Array(1..<(ended.count + 1)) else {
            return ["the attempts at \(task) begin as \(begun) and end as \(ended)"]
        }
        return []
    }

    // MARK: Up to each revision

    private func prefixProblems() -> [String] {
        var problems: [String] = []
        var whole = self.whole
        var known: Set<String> = []
        for (index, lines) in self.revisions.enumerated() where lines <= self.stored.events.count {
            let era = self.eras.last { $0.line < lines } ?? self.eras[0]
            var part = Self.replay(self.stored, lines, era.workflow, as: .queued)
            if let misfit = part.misfit {
                problems.append("at revision \(index + 1), line \(misfit.line) doesn't fit: \(misfit.reason)")
                break
            }
            // Another version may decide anew what has no line.
            let isLast = era.version == self.eras.last?.version
            let ended = Set(self.stored.events.prefix(lines).filter(\.isEnd).compactMap(\.task))
            for (position, task) in era.workflow.tasks.enumerated() where isLast || ended.contains(task.id) {
                guard let now = Self.end(of: part.tasks[position]) else { continue }
                let name = "\(task.id) at revision \(index + 1)"
                guard let place = self.workflow.position(of: task.id) else {
                    problems.append("\(name) is \(now), and in the end there is no such task")
                    continue
                }
                let last = Self.end(of: whole.tasks[place])
                if now != last { problems.append("\(name) is \(now), in the end \(last ?? "open")") }
                guard known.insert(task.id).inserted, part.tasks[position].state == .completed else { continue }
                let (left, leaves) = (part.contextAfter(position), whole.contextAfter(place))
                if left != leaves { problems.append("\(name) leaves \(left.jsonText), in the end \(leaves.jsonText)") }
            }
        }
        return problems
    }

    private static func end(of record: TaskRecord) -> String? {
        guard record.state.status.isTerminal else { return nil }
        if case .skipped(let reason) = record.state { return "skipped, \(reason.code.rawValue)" }
        return record.state.status.rawValue
    }

    // MARK: The end

    private func endProblems(read: String) -> [String] {
        var problems: [String] = []
        let now = self.stored.endedAt ?? self.stored.createdAt
        do throws(PipelineError) {
            var whole = self.whole
            let replayed = try PipelineResult(&whole, of: self.stored, endedAt: now).sightForTests
            if replayed != read { problems.append("read is\n\(read)\nreplayed\n\(replayed)") }
        } catch {
            problems.append("a replay has no result: \(error)")
        }
        // The same decided once more, as if the end had not been written.
        var again = Self.replay(self.stored, self.stored.events.count, self.workflow, as: .running)
        guard let transition = again.commit(at: now), transition.status.isTerminal else {
            return problems + ["a replay doesn't end"]
        }
        if transition.output != self.stored.output || transition.outcomes != self.stored.outcomes {
            problems.append(
                """
                stored is \(self.stored.output ?? "-") \(self.stored.outcomes ?? "-")
                decided again \(transition.output ?? "-") \(transition.outcomes ?? "-")
                """)
        }
        // Only the end's own line says that a pipeline in which nothing ran was cancelled, and not out of time.
        if self.stored.status != .cancelled, transition.status != self.stored.status {
            problems.append("it is \(self.stored.status), decided again \(transition.status)")
        }
        let last: PipelineEvent.Kind? =
            switch self.stored.status {
            case .completed: .pipelineCompleted
            case .failed: .pipelineFailed
            default: .pipelineCancelled
            }
        if self.stored.events.last?.kind != last { problems.append("it is \(self.stored.status), and says otherwise") }
        return problems
    }

    // MARK: Code that ran

    /// Compares what tasks' code was given with what a replay gives it.
    func problems(of bodies: [HistoryWorld.Body]) -> [String] {
        var whole = self.whole
        return bodies.compactMap { body in
            // Of what ran before anything was stored, under another version, nothing need be left.
            guard let position = self.workflow.position(of: body.task),
                let given = try? whole.given(to: position), given != body.context
            else { return nil }
            return "\(body.task) #\(body.attempt) was given \(body.context.jsonText), replayed \(given.jsonText)"
        }
    }
}
