/// Collects the tasks of a ``Workflow`` written one below the other, with `if`, `switch` and `for`.
@resultBuilder
public enum WorkflowBuilder {
    /// One task.
    public static func buildExpression(_ task: WorkflowTask) -> [WorkflowTask] { [task] }

    /// Several tasks made elsewhere.
    public static func buildExpression(_ tasks: [WorkflowTask]) -> [WorkflowTask] { tasks }

    /// The statements of a block.
    public static func buildBlock(_ parts: [WorkflowTask]...) -> [WorkflowTask] { parts.flatMap(\.self) }

    /// An `if` without `else`.
    public static func buildOptional(_ part: [WorkflowTask]?) -> [WorkflowTask] { part ?? [] }

    /// The first branch of a choice.
    public static func buildEither(first part: [WorkflowTask]) -> [WorkflowTask] { part }

    /// The other branch of a choice.
    public static func buildEither(second part: [WorkflowTask]) -> [WorkflowTask] { part }

    /// A `for` loop.
    public static func buildArray(_ parts: [[WorkflowTask]]) -> [WorkflowTask] { parts.flatMap(\.self) }

    /// An `if #available`.
    public static func buildLimitedAvailability(_ part: [WorkflowTask]) -> [WorkflowTask] { part }
}
