extension WorkflowGraph {
    /// The ids of the tasks, each after what it depends on: by ``levels``, and within a level as declared.
    ///
    /// Tasks on a circle, and those that wait for one, have no place in the order and are left out; see ``hasCycles``.
    public var topologicalOrder: [String] { self.shape.tasks.levels.flatMap { self.ids($0) } }

    /// The tasks that could run at the same time, level by level: the first has no dependencies, each other one depends on a
    /// task of the level before. The groups that the Rust library calls parallel groups or execution levels.
    ///
    /// Tasks on a circle, and those that wait for one, are on no level; see ``hasCycles``.
    public var levels: [[String]] { self.shape.tasks.levels.map { self.ids($0) } }

    /// The tasks that depend on nothing, as declared.
    public var roots: [String] { self.ids(self.shape.tasks.roots) }

    /// The tasks that nothing depends on, as declared.
    public var leaves: [String] { self.ids(self.shape.tasks.leaves) }

    /// Whether some task waits for itself, directly or not. Never in a graph of a ``Workflow``.
    public var hasCycles: Bool { self.shape.tasks.hasCircles }

    /// One circle: each task depends on the next one, and the first is repeated at the end. Nil when there is none.
    public var circle: [String]? { self.shape.tasks.circle.map { self.ids($0) } }

    /// The tasks that a task waits for, in the order it named them, each once.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/taskNotFound``.
    public func dependencies(
        of id: String, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) -> [String] {
        self.ids(self.shape.tasks.dependencies[try self.position(of: id, fileID: fileID, line: line)])
    }

    /// The tasks that wait for a task, as declared.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/taskNotFound``.
    public func dependents(
        of id: String, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) -> [String] {
        self.ids(self.shape.tasks.dependents[try self.position(of: id, fileID: fileID, line: line)])
    }

    /// Whether two tasks may run at the same time: neither waits for the other, directly or not. False for a task and itself.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/taskNotFound``.
    public func canRunInParallel(
        _ first: String, _ second: String, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) -> Bool {
        self.shape.tasks.areIndependent(
            try self.position(of: first, fileID: fileID, line: line),
            try self.position(of: second, fileID: fileID, line: line))
    }

    /// The given tasks and all they depend on, directly or not, in the order of this graph. No tasks give an empty graph.
    ///
    /// - Parameters:
    ///   - ids: The tasks wanted.
    ///   - name: What to call it; by default this graph's name and `-subgraph`.
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/taskNotFound``.
    public func subgraph(
        of ids: some Sequence<String>, named name: String? = nil, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) -> WorkflowGraph {
        var wanted: [Int] = []
        for id in ids { wanted.append(try self.position(of: id, fileID: fileID, line: line)) }
        let kept = self.shape.tasks.ancestry(of: wanted).sorted()
        return WorkflowGraph(
            name: name ?? "\(self.name)-subgraph", description: self.description,
            nodes: kept.map { self.nodes[self.shape.nodes[$0]] },
            edges: kept.flatMap { task in
                self.shape.tasks.dependencies[task].map { Edge(from: self.shape.ids[$0], to: self.shape.ids[task]) }
            })
    }

    /// Checks that the graph is one a ``Workflow`` could have.
    ///
    /// - Throws: ``WorkflowError``: ``WorkflowError/Code/emptyWorkflow``, ``WorkflowError/Code/invalidName``,
    ///   ``WorkflowError/Code/duplicateTask``, ``WorkflowError/Code/missingDependency``,
    ///   ``WorkflowError/Code/selfDependency``, ``WorkflowError/Code/cyclicDependency``, or
    ///   ``WorkflowError/Code/taskNotFound`` for an edge to a task that isn't there.
    public func validate(fileID: String = #fileID, line: Int = #line) throws(WorkflowError) {
        var dependencies = [[String]](repeating: [], count: self.shape.ids.count)
        var seen: Set<Edge> = []
        for edge in self.edges {
            let position = try self.position(of: edge.to, fileID: fileID, line: line)
            if seen.insert(edge).inserted { dependencies[position].append(edge.from) }
        }
        let tasks = self.nodes.map { node in
            let position = self.shape.positions[node.id]
            return WorkflowTask(node.id, dependencies: position.map { dependencies[$0] } ?? []) { _, _ in }
        }
        let check = WorkflowCheck(workflow: self.name, tasks: tasks, fileID: fileID, line: line)
        _ = try check.graph(positions: try check.positions())
    }

    private func position(of id: String, fileID: String, line: Int) throws(WorkflowError) -> Int {
        guard let position = self.shape.positions[id] else {
            throw WorkflowError(
                .taskNotFound, "workflow \"\(self.name)\" has no task \"\(id)\"",
                suggestion: NameSuggestion.nearest(to: id, in: self.shape.ids), fileID: fileID, line: line)
        }
        return position
    }

    private func ids(_ positions: [Int]) -> [String] { positions.map { self.shape.ids[$0] } }
}
