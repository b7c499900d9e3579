/// Makes a workflow of a type's functions that are marked with ``Task(id:dependencies:retry:triggerRules:handles:timeout:onSuccess:onFailure:)``.
///
/// ```swift
/// @Workflow(name: "etl", description: "Extract, transform, load")
/// struct ETL {
///     let source: String
///
///     @Task(id: "extract", retry: .exponential(3))
///     func extract(_ context: inout Context) async throws { … }
///
///     @Task(id: "load", dependencies: ["extract"], timeout: .seconds(30))
///     func load(_ context: inout Context, _ scope: TaskScope) async throws { … }
/// }
///
/// let workflow = try ETL(source: "https://example.com/rows").workflow
/// ```
///
/// It goes on a struct, enum, class or actor and adds a property, as far visible as the type:
/// `var workflow: Workflow { get throws(WorkflowError) }`. The property makes the ``Workflow`` with one ``WorkflowTask`` for
/// each task function, in the order in which they are declared. The tasks hold the value on which the property was read, so
/// its type has to be `Sendable`; a public type has to say so itself.
///
/// Ids, names and dependencies are checked when the program is compiled: what ``Workflow`` would refuse when it is made is an
/// error in the place where it is written. Functions in extensions of the type aren't seen; functions under `#if` are, and
/// are tasks where they are compiled.
///
/// - Parameters:
///   - name: The workflow's name, a string literal; the type's name, as it is written, when none is given.
///   - description: What the workflow is for.
@attached(member, names: named(workflow))
public macro Workflow(name: String? = nil, description: String = "") =
    #externalMacro(module: "CloacinaPlugin", type: "WorkflowPlugin")

/// Makes a function of a ``Workflow(name:description:)`` type one of the workflow's tasks.
///
/// ```swift
/// @Task(id: "load", dependencies: ["extract"], triggerRules: .taskSucceeded("extract"))
/// func load(_ context: inout Context, _ scope: TaskScope) async throws { … }
/// ```
///
/// The function is an instance method that takes the context `inout` and, behind it, a ``TaskScope`` if it needs one. It may
/// be `async`, `throws`, both or neither, and its parameters may have any names and labels. The task's code version is made of
/// the function's code, without comments and layout; code that the function calls is not part of it.
///
/// With a `borrowing PostgresTransaction` behind those, the task is a transactional one: what it writes with the transaction
/// to its tenant's tables commits together with its completion, exactly once. That takes `import Cloacina` and
/// `import CloacinaPostgres`; see `WorkflowTask.transactional`.
///
/// Arguments are written into the workflow as they stand. They can name statics of the type by `Self.`, but no values of an
/// instance; a workflow whose retries or rules depend on such values is made with ``WorkflowTask`` in a ``Workflow``'s block.
///
/// - Parameters:
///   - id: The task's id, a string literal; the function's name, as it is written, when none is given.
///   - dependencies: The ids of the tasks it comes after, string literals.
///   - retry: When a failed attempt is followed by another: never, by default; `.default` makes three attempts.
///   - triggerRules: When it runs, once all its dependencies have ended; when all of them succeeded, by default. A rule can
///     ask about tasks that this one waits for, and no others.
///   - handles: The ids of the tasks above it whose failure it handles: when it completes, they don't make the pipeline fail.
///   - timeout: How long one attempt may take; as long as it likes when nil.
///   - onSuccess: What is done after it has succeeded.
///   - onFailure: What is done after its last attempt has failed.
@attached(peer)
public macro Task(
    id: String? = nil, dependencies: [String] = [], retry: RetryPolicy = .none, triggerRules: TriggerRule? = nil,
    handles: [String] = [], timeout: Duration? = nil, onSuccess: WorkflowTask.SuccessHandler? = nil,
    onFailure: WorkflowTask.FailureHandler? = nil
) = #externalMacro(module: "CloacinaPlugin", type: "TaskPlugin")
