/// Tasks and the order between them, checked when it is made: a workflow that exists can run.
///
/// ```swift
/// let etl = try Workflow("etl", description: "Extract, transform, load") {
///     WorkflowTask("extract") { context in … }
///     WorkflowTask("transform", after: "extract") { context in … }
///     WorkflowTask("load", after: "transform") { context in … }
/// }
/// ```
public struct Workflow: Sendable {
    /// How many bytes a workflow's name or a task's id may have.
    public static let maximumNameBytes = 255

    /// Its name, by which a runner is asked to execute it.
    public let name: String
    /// What it is for.
    public let description: String
    /// Its tasks, in the order in which they were declared.
    public let tasks: [WorkflowTask]

    /// Who waits for whom, by position in ``tasks``.
    package let graph: TaskGraph

    private let positions: [String: Int]

    /// Makes a workflow of tasks written in a block.
    ///
    /// - Throws: ``WorkflowError``: ``WorkflowError/Code/emptyWorkflow``, ``WorkflowError/Code/invalidName``,
    ///   ``WorkflowError/Code/duplicateTask``, ``WorkflowError/Code/missingDependency``,
    ///   ``WorkflowError/Code/selfDependency``, ``WorkflowError/Code/cyclicDependency``, ``WorkflowError/Code/invalidRule``,
    ///   ``WorkflowError/Code/invalidRetryPolicy`` or ``WorkflowError/Code/invalidValue``.
    public init(
        _ name: String, description: String = "", fileID: String = #fileID, line: Int = #line,
        @WorkflowBuilder tasks: () -> [WorkflowTask]
    ) throws(WorkflowError) {
        try self.init(name, description: description, tasks: tasks(), fileID: fileID, line: line)
    }

    /// Makes a workflow of tasks that were collected elsewhere.
    ///
    /// - Throws: ``WorkflowError`` as above.
    public init(
        _ name: String, description: String = "", tasks: [WorkflowTask], fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) {
        let check = WorkflowCheck(workflow: name, tasks: tasks, fileID: fileID, line: line)
        self.positions = try check.positions()
        self.graph = try check.graph(positions: self.positions)
        self.name = name
        self.description = description
        self.tasks = tasks
    }
}

extension Workflow {
    /// The task of an id, or nil.
    public func task(_ id: String) -> WorkflowTask? { self.positions[id].map { self.tasks[$0] } }

    /// The ids of all tasks, each after what it depends on. The order is the same every time: by ``levels``, and within a
    /// level as declared.
    public var topologicalOrder: [String] { self.graph.levels.flatMap { self.ids($0) } }

    /// The tasks that could run at the same time, level by level: the first has no dependencies, each other one depends on a
    /// task of the level before.
    public var levels: [[String]] { self.graph.levels.map { self.ids($0) } }

    /// The tasks that depend on nothing, as declared.
    public var roots: [String] { self.ids(self.graph.roots) }

    /// The tasks that nothing depends on, as declared. The final context is what they hand on.
    public var leaves: [String] { self.ids(self.graph.leaves) }

    /// The tasks that wait for a task, as declared.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/taskNotFound``.
    public func dependents(
        of id: String, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) -> [String] {
        self.ids(self.graph.dependents[try self.position(of: id, fileID: fileID, line: line)])
    }

    /// The tasks that a task waits for, in the order it named them, each once.
    ///
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/taskNotFound``.
    public func dependencies(
        of id: String, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) -> [String] {
        self.ids(self.graph.dependencies[try self.position(of: id, fileID: fileID, line: line)])
    }

    package func position(of id: String) -> Int? { self.positions[id] }

    private func position(of id: String, fileID: String, line: Int) throws(WorkflowError) -> Int {
        guard let position = self.positions[id] else {
            throw WorkflowError(
                .taskNotFound, "workflow \"\(self.name)\" has no task \"\(id)\"",
                suggestion: NameSuggestion.nearest(to: id, in: self.tasks.map(\.id)), fileID: fileID, line: line)
        }
        return position
    }

    private func ids(_ positions: [Int]) -> [String] { positions.map { self.tasks[$0].id } }
}
