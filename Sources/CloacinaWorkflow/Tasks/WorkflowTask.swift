/// One step of a workflow: an id, the ids of the tasks it comes after, and what to do.
///
/// ```swift
/// WorkflowTask("load", after: "transform") { context in
///     let rows = try context.get("rows", as: [Row].self)
///     …
/// }
/// ```
///
/// The closure changes its own copy of the context; see ``Context``. A task may be started again after a crash, so what it
/// does outside of the context should bear being done twice.
public struct WorkflowTask: Sendable, Identifiable {
    /// What a task does.
    public typealias Body = @concurrent @Sendable (inout Context, TaskScope) async throws -> Void

    /// Its name, unique in the workflow.
    public let id: String
    /// The ids of the tasks that have to succeed first. Their order decides whose change of a context's key wins.
    public let dependencies: [String]

    private let body: Body

    /// Makes a task that needs the context alone.
    public init(
        _ id: String, after dependencies: String...,
        run body: @escaping @concurrent @Sendable (inout Context) async throws -> Void
    ) {
        self.init(id, dependencies: dependencies) { context, _ in try await body(&context) }
    }

    /// Makes a task that also asks about itself or uses what its ``TaskScope`` lends, such as the tenant's database.
    public init(_ id: String, after dependencies: String..., run body: @escaping Body) {
        self.init(id, dependencies: dependencies, run: body)
    }

    /// Makes a task whose dependencies are computed.
    public init(_ id: String, dependencies: [String], run body: @escaping Body) {
        self.id = id
        self.dependencies = dependencies
        self.body = body
    }

    /// Does the task's work once, on a context of its own.
    ///
    /// - Throws: What the task's closure throws.
    public func run(_ context: inout Context, scope: TaskScope) async throws {
        try await self.body(&context, scope)
    }
}
