/// How a state looks in a drawing: always a sign and a word too, so that colours only help.
enum RunAppearance: Int, CaseIterable {
    case waiting, ready, begun, running, retrying, completed, failed, skipped, other

    /// What a task is called that may have begun: a beginning is stored only after a crash.
    static let readyOrRunning = "ready or running"

    init(state: String) {
        self =
            switch state {
            case "waiting": .waiting
            case "ready": .ready
            case Self.readyOrRunning: .begun
            case "running": .running
            case "retrying": .retrying
            case "completed": .completed
            case "failed": .failed
            case "skipped": .skipped
            default: .other
            }
    }

    /// What the legend says.
    var title: String { self == .begun ? Self.readyOrRunning : self.name }

    /// A name of one word, for formats that need one.
    var name: String {
        switch self {
        case .waiting: "waiting"
        case .ready: "ready"
        case .begun: "begun"
        case .running: "running"
        case .retrying: "retrying"
        case .completed: "completed"
        case .failed: "failed"
        case .skipped: "skipped"
        case .other: "other"
        }
    }

    var sign: String {
        switch self {
        case .waiting: "○"
        case .ready: "◇"
        case .begun: "▷"
        case .running: "►"
        case .retrying: "↻"
        case .completed: "✓"
        case .failed: "✗"
        case .skipped: "↷"
        case .other: "•"
        }
    }

    var fill: String {
        switch self {
        case .waiting: "#f6f8fa"
        case .ready: "#ddf4ff"
        case .begun: "#f4f9d9"
        case .running: "#fff8c5"
        case .retrying: "#fff1e5"
        case .completed: "#dafbe1"
        case .failed: "#ffebe9"
        case .skipped: "#eaeef2"
        case .other: "#fbefff"
        }
    }

    var stroke: String {
        switch self {
        case .waiting, .skipped: "#6e7781"
        case .ready: "#0969da"
        case .begun, .running: "#9a6700"
        case .retrying: "#bc4c00"
        case .completed: "#1a7f37"
        case .failed: "#cf222e"
        case .other: "#8250df"
        }
    }

    /// Whether the task hasn't run, and its border is dashed.
    var isDashed: Bool { self == .waiting || self == .skipped }

    /// Whether it is what one looks for first, and its border is thick.
    var isThick: Bool { self == .running || self == .failed }
}

extension WorkflowGraph.TaskRun {
    var appearance: RunAppearance { RunAppearance(state: self.state) }

    /// What to write below a task's name: its state, and attempts and time where there are any.
    var lines: [String] {
        var facts: [String] = []
        if self.attempts == 1 { facts.append("1 attempt") }
        if self.attempts > 1 { facts.append("\(self.attempts) attempts") }
        if let duration { facts.append(duration.brief) }
        let state = "\(self.appearance.sign) \(GraphText.printable(self.state))"
        return facts.isEmpty ? [state] : [state, facts.joined(separator: ", ")]
    }
}

extension Duration {
    /// The duration as people read it, cut off: `0 ms`, `12 ms`, `1.5 s`, `2 min 5 s`, `3 h 20 min`.
    package var brief: String {
        let milliseconds = max(0, self.wholeMicroseconds / 1000)
        let seconds = milliseconds / 1000
        switch milliseconds {
        case ..<1000: return "\(milliseconds) ms"
        case ..<60_000: return "\(seconds).\(milliseconds / 100 % 10) s"
        case ..<3_600_000: return "\(seconds / 60) min \(seconds % 60) s"
        default: return "\(seconds / 3600) h \(seconds / 60 % 60) min"
        }
    }
}

extension WorkflowGraph {
    /// The node that counts for each task, in order.
    var drawnNodes: [Node] { self.shape.nodes.map { self.nodes[$0] } }

    /// The states to explain, in the order of ``RunAppearance``, each with the number of tasks in it.
    var legend: [(appearance: RunAppearance, label: String)] {
        var counts = [Int](repeating: 0, count: RunAppearance.allCases.count)
        for node in self.drawnNodes {
            if let run = node.run { counts[run.appearance.rawValue] += 1 }
        }
        return RunAppearance.allCases.filter { counts[$0.rawValue] > 0 }.map { appearance in
            (appearance, "\(appearance.sign) \(appearance.title): \(counts[appearance.rawValue])")
        }
    }
}
