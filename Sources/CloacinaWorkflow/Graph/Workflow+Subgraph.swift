extension Workflow {
    /// Whether two tasks may run at the same time: neither waits for the other, directly or not. False for a task and itself.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/taskNotFound``.
    public func canRunInParallel(
        _ first: String, _ second: String, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) -> Bool {
        self.graph.areIndependent(
            try self.knownPosition(of: first, fileID: fileID, line: line),
            try self.knownPosition(of: second, fileID: fileID, line: line))
    }

    /// A workflow of the given tasks and all they depend on, directly or not, in the order of this one.
    ///
    /// - Parameters:
    ///   - ids: The tasks wanted, at least one.
    ///   - name: What to call it; by default this workflow's name and `-subgraph`.
    /// - Throws: ``WorkflowError``: ``WorkflowError/Code/taskNotFound``, ``WorkflowError/Code/emptyWorkflow`` when no task was
    ///   asked for, or ``WorkflowError/Code/invalidName`` when the name can't be one, such as for its length.
    public func subgraph(
        of ids: some Sequence<String>, named name: String? = nil, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) -> Workflow {
        var wanted: [Int] = []
        for id in ids { wanted.append(try self.knownPosition(of: id, fileID: fileID, line: line)) }
        return try Workflow(
            name ?? "\(self.name)-subgraph", description: self.description,
            tasks: self.graph.ancestry(of: wanted).sorted().map { self.tasks[$0] }, fileID: fileID, line: line)
    }

    private func knownPosition(of id: String, fileID: String, line: Int) throws(WorkflowError) -> Int {
        guard let position = self.position(of: id) else {
            throw WorkflowError(
                .taskNotFound, "workflow \"\(self.name)\" has no task \"\(id)\"",
                suggestion: NameSuggestion.nearest(to: id, in: self.tasks.map(\.id)), fileID: fileID, line: line)
        }
        return position
    }
}
