/// What counts of a graph's nodes and edges: each id once, each edge once and between tasks that exist. Made in linear time.
struct GraphShape: Sendable {
    /// The ids, by position.
    let ids: [String]
    /// For each id, where its node stands in the graph's list.
    let nodes: [Int]
    /// The position of each id.
    let positions: [String: Int]
    /// Who waits for whom; it may have circles.
    let tasks: TaskGraph

    init(nodes: [WorkflowGraph.Node], edges: [WorkflowGraph.Edge]) {
        var positions: [String: Int] = [:]
        var kept: [Int] = []
        for (index, node) in nodes.enumerated() where positions[node.id] == nil {
            positions[node.id] = kept.count
            kept.append(index)
        }
        var dependencies = [[Int]](repeating: [], count: kept.count)
        var seen: Set<TaskLink> = []
        for edge in edges {
            guard let from = positions[edge.from], let to = positions[edge.to] else { continue }
            if seen.insert(TaskLink(from: from, to: to)).inserted { dependencies[to].append(from) }
        }
        self.ids = kept.map { nodes[$0].id }
        self.nodes = kept
        self.positions = positions
        self.tasks = TaskGraph(dependencies: dependencies)
    }
}

/// An edge by position, from what comes first to what waits for it.
struct TaskLink: Sendable, Hashable {
    let from: Int
    let to: Int
}

extension TaskGraph {
    /// Whether some task waits for itself, directly or not.
    var hasCircles: Bool { self.levels.reduce(0) { $0 + $1.count } < self.count }

    /// Whether neither of two tasks waits for the other, directly or not; a task isn't independent of itself.
    func areIndependent(_ first: Int, _ second: Int) -> Bool {
        !self.ancestry(of: [first]).contains(second) && !self.ancestry(of: [second]).contains(first)
    }

    /// The links that have to be turned back so that no circle is left: those that lead, in a walk from what waits to what it
    /// waits for in declared order, to a task the walk is still busy with.
    func linksClosingCircles() -> Set<TaskLink> {
        guard self.hasCircles else { return [] }
        enum Visit { case not, busy, done }
        var visits = [Visit](repeating: .not, count: self.count)
        var closing: Set<TaskLink> = []
        for start in 0..<self.count where visits[start] == .not {
            var stack = [(task: start, next: 0)]
            visits[start] = .busy
            while let (task, next) = stack.last {
                guard next < self.dependencies[task].count else {
                    visits[task] = .done
                    stack.removeLast()
                    continue
                }
                stack[stack.count - 1].next += 1
                let dependency = self.dependencies[task][next]
                switch visits[dependency] {
                case .busy:
                    closing.insert(TaskLink(from: dependency, to: task))
                case .not:
                    visits[dependency] = .busy
                    stack.append((dependency, 0))
                case .done:
                    break
                }
            }
        }
        return closing
    }
}
