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
    /// What follows a success: given the task's scope and the context as the task left it.
    public typealias SuccessHandler = @concurrent @Sendable (TaskScope, Context) async -> Void
    /// What follows the last failure.
    public typealias FailureHandler = @concurrent @Sendable (TaskScope, TaskFailure) async -> Void

    /// Its name, unique in the workflow.
    public let id: String
    /// The ids of the tasks that have to end first; all of them with success, unless there is a ``triggerRule``. Their order
    /// decides whose change of a context's key wins.
    public let dependencies: [String]
    /// When a failed attempt is followed by another. By default never: the policy is ``RetryPolicy/none``, where the Rust library
    /// of the same name makes three attempts; say `retry: .default` for those.
    public let retry: RetryPolicy
    /// When the task runs, once everything it depends on has ended; nil: when all of that succeeded.
    public let triggerRule: TriggerRule?
    /// The tasks above this one whose failure it handles, such as `["charge"]` of a task that refunds: when this task
    /// completes, their failures no longer make the pipeline fail. ``TaskScope/failure(of:)`` says what went wrong.
    ///
    /// They are tasks that this one waits for, directly or not; its ``triggerRule`` has to let it run after their failure.
    public let handles: [String]
    /// How long an attempt may take before it is cancelled and counts as failed; as long as it likes when nil.
    public let timeout: Duration?
    /// A text that changes with the task's code. The macro computes it; it is part of the workflow's content version.
    public let codeVersion: String
    /// What is done after the task has succeeded and that is stored. It runs at most once, and not if the process dies first.
    public let onSuccess: SuccessHandler?
    /// What is done after the task's last attempt has failed and that is stored; at most once, as above.
    public let onFailure: FailureHandler?

    private let body: Body

    /// Makes a task that needs the context alone.
    public init(
        _ id: String, after dependencies: String..., retry: RetryPolicy = .none, triggerRule: TriggerRule? = nil,
        handles: [String] = [], timeout: Duration? = nil, codeVersion: String = "",
        onSuccess: SuccessHandler? = nil, onFailure: FailureHandler? = nil,
        run body: @escaping @concurrent @Sendable (inout Context) async throws -> Void
    ) {
        self.init(
            id, dependencies: dependencies, retry: retry, triggerRule: triggerRule, handles: handles, timeout: timeout,
            codeVersion: codeVersion, onSuccess: onSuccess, onFailure: onFailure
        ) { context, _ in try await body(&context) }
    }

    /// Makes a task that also asks about itself or uses what its ``TaskScope`` lends, such as the tenant's database.
    public init(
        _ id: String, after dependencies: String..., retry: RetryPolicy = .none, triggerRule: TriggerRule? = nil,
        handles: [String] = [], timeout: Duration? = nil, codeVersion: String = "",
        onSuccess: SuccessHandler? = nil, onFailure: FailureHandler? = nil, run body: @escaping Body
    ) {
        self.init(
            id, dependencies: dependencies, retry: retry, triggerRule: triggerRule, handles: handles, timeout: timeout,
            codeVersion: codeVersion, onSuccess: onSuccess, onFailure: onFailure, run: body)
    }

    /// Makes a task whose dependencies are computed.
    public init(
        _ id: String, dependencies: [String], retry: RetryPolicy = .none, triggerRule: TriggerRule? = nil,
        handles: [String] = [], timeout: Duration? = nil, codeVersion: String = "",
        onSuccess: SuccessHandler? = nil, onFailure: FailureHandler? = nil, run body: @escaping Body
    ) {
        self.id = id
        self.dependencies = dependencies
        self.retry = retry
        self.triggerRule = triggerRule
        self.handles = handles
        self.timeout = timeout
        self.codeVersion = codeVersion
        self.onSuccess = onSuccess
        self.onFailure = onFailure
        self.body = body
    }

    /// Does the task's work once, on a context of its own.
    ///
    /// - Throws: What the task's closure throws.
    public func run(_ context: inout Context, scope: TaskScope) async throws {
        try await self.body(&context, scope)
    }
}
