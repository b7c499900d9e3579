/// The shape of a workflow as data: to be stored, sent, compared and drawn, without the code of its tasks.
///
/// ```swift
/// let graph = WorkflowGraph(workflow)
/// try graph.svg().write(to: file, atomically: true, encoding: .utf8)
/// ```
///
/// As JSON it is the definition that `cloacina-admin workflow graph` and `cloacina-admin execution graph` draw:
///
/// ```swift
/// try JSONEncoder().encode(graph).write(to: URL(filePath: "billing.json"))
/// ```
///
/// A graph of a ``Workflow`` is sound. One that was decoded or put together may not be: it may hold a circle, the same id
/// twice, or an edge to a task that isn't there. Every function copes: of nodes with the same id the first counts, an edge
/// that leads nowhere doesn't, and ``validate(fileID:line:)`` says what is wrong.
public struct WorkflowGraph: Sendable {
    /// The workflow's name.
    public let name: String
    /// What the workflow is for; nil when it doesn't say.
    public let description: String?
    /// The tasks, in the order in which the workflow declares them.
    public let nodes: [Node]
    /// Who waits for whom: task by task as declared, and for one task in the order in which it names its dependencies.
    public let edges: [Edge]

    let shape: GraphShape

    /// Puts a graph together of any parts.
    public init(name: String, description: String? = nil, nodes: [Node], edges: [Edge]) {
        self.name = name
        self.description = description
        self.nodes = nodes
        self.edges = edges
        self.shape = GraphShape(nodes: nodes, edges: edges)
    }

    /// Describes a workflow.
    public init(_ workflow: Workflow) {
        let ids = workflow.tasks.map(\.id)
        let edges = zip(ids, workflow.graph.dependencies).flatMap { id, dependencies in
            dependencies.map { Edge(from: ids[$0], to: id) }
        }
        self.init(
            name: workflow.name, description: workflow.description.isEmpty ? nil : workflow.description,
            nodes: ids.map { Node(id: $0) }, edges: edges)
    }
}

extension WorkflowGraph {
    /// One task.
    public struct Node: Sendable, Hashable, Codable, Identifiable {
        /// The task's id.
        public let id: String
        /// How it fared in the run that the graph shows; nil in a graph of the definition alone.
        public let run: TaskRun?

        /// Describes a task.
        public init(id: String, run: TaskRun? = nil) {
            self.id = id
            self.run = run
        }
    }

    /// An arrow between two tasks.
    public struct Edge: Sendable, Hashable, Codable {
        /// The task that comes first.
        public let from: String
        /// The task that waits for it.
        public let to: String

        /// Describes an arrow.
        public init(from: String, to: String) {
            self.from = from
            self.to = to
        }
    }

    /// The same graph with what a run made of its tasks.
    ///
    /// A task that `runs` doesn't mention shows no run; an id in `runs` that the graph doesn't have is left out, as a run of
    /// another version of the workflow may have it.
    public func annotated(with runs: [String: TaskRun]) -> WorkflowGraph {
        WorkflowGraph(
            name: self.name, description: self.description, nodes: self.nodes.map { Node(id: $0.id, run: runs[$0.id]) },
            edges: self.edges)
    }
}

extension WorkflowGraph: Hashable {
    /// Whether two graphs have the same parts in the same order.
    public static func == (left: Self, right: Self) -> Bool {
        left.name == right.name && left.description == right.description && left.nodes == right.nodes
            && left.edges == right.edges
    }

    /// Feeds the graph's parts to a hasher.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(self.name)
        hasher.combine(self.description)
        hasher.combine(self.nodes)
        hasher.combine(self.edges)
    }
}

extension WorkflowGraph: Codable {
    private enum CodingKeys: String, CodingKey { case name, description, nodes, edges }

    /// Reads a graph from any decoder, sound or not; see ``validate(fileID:line:)``.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            name: try container.decode(String.self, forKey: .name),
            description: try container.decodeIfPresent(String.self, forKey: .description),
            nodes: try container.decode([Node].self, forKey: .nodes),
            edges: try container.decode([Edge].self, forKey: .edges))
    }

    /// Writes `name`, `description`, `nodes` and `edges` to any encoder.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.name, forKey: .name)
        try container.encodeIfPresent(self.description, forKey: .description)
        try container.encode(self.nodes, forKey: .nodes)
        try container.encode(self.edges, forKey: .edges)
    }
}
