/// When a task runs, other than after everything it depends on has succeeded.
///
/// A task without a rule runs when all of its dependencies succeeded, and is skipped otherwise. A task with one runs when
/// all of its dependencies have ended, in whatever way, and the rule is satisfied; else it is skipped, and the rule's
/// ``description`` is the reason.
///
/// ```swift
/// .taskFailed("charge")
/// .all([.taskSucceeded("validate"), .contextValue("order.total", .greaterThan, 100)])
/// .any([.not(.contextExists("order.coupon")), .contextValue("order.items[0].sku", .startsWith, "B-")])
/// .noneFailedAbove
/// ```
///
/// Rules hold each other to any depth that ``maximumDepth`` allows. Evaluating one never fails: names it doesn't know are
/// refused before, when the workflow is made.
public indirect enum TriggerRule: Sendable, Hashable {
    /// The task runs when its dependencies have ended, however they did.
    case always
    /// All of these are satisfied. Without any, it is satisfied.
    case all([TriggerRule])
    /// At least one of these is satisfied. Without any, it isn't.
    case any([TriggerRule])
    /// None of these is satisfied. Without any, it is satisfied.
    case none([TriggerRule])
    /// This one isn't satisfied.
    case not(TriggerRule)
    /// The task with this id succeeded.
    case taskSucceeded(String)
    /// The task with this id failed, after its last attempt.
    case taskFailed(String)
    /// The task with this id was skipped.
    case taskSkipped(String)
    /// No task that this one waits for, directly or not, failed. Skipped ones may be among them; a failure that another task
    /// handles counts all the same.
    case noneFailedAbove
    /// A value of the context compares with this one as the operator says.
    case contextValue(ContextPath, ValueOperator, JSONValue)
}

/// How a task ended, as a ``TriggerRule`` sees it.
public enum RuleOutcome: String, Sendable, Hashable, CaseIterable {
    /// Its code returned.
    case succeeded
    /// Its last attempt threw or ran out of time.
    case failed
    /// It didn't run.
    case skipped
}

extension TriggerRule {
    /// The context has a value at a path, be it null.
    public static func contextExists(_ path: ContextPath) -> Self { .contextValue(path, .exists, .null) }

    /// The context has no value at a path.
    public static func contextNotExists(_ path: ContextPath) -> Self { .contextValue(path, .notExists, .null) }

    /// At least one of these tasks failed.
    public static func anyFailed(_ ids: String...) -> Self { .any(ids.map { .taskFailed($0) }) }

    /// All of these tasks succeeded.
    public static func allSucceeded(_ ids: String...) -> Self { .all(ids.map { .taskSucceeded($0) }) }
}

// MARK: Evaluating

extension TriggerRule {
    /// Whether the task runs.
    ///
    /// - Parameters:
    ///   - outcome: How a task ended; nil for one that hasn't, for which no condition holds.
    ///   - context: What the task would be given.
    ///   - ancestorFailed: Whether a task that this one waits for, directly or not, failed.
    public func isSatisfied(
        outcome: (String) -> RuleOutcome?, context: Context, ancestorFailed: Bool = false
    ) -> Bool {
        func holds(_ rule: TriggerRule) -> Bool {
            rule.isSatisfied(outcome: outcome, context: context, ancestorFailed: ancestorFailed)
        }
        return switch self {
        case .always: true
        case .all(let rules): rules.allSatisfy { holds($0) }
        case .any(let rules): rules.contains { holds($0) }
        case .none(let rules): !rules.contains { holds($0) }
        case .not(let rule): !holds(rule)
        case .noneFailedAbove: !ancestorFailed
        case .taskSucceeded(let id): outcome(id) == .succeeded
        case .taskFailed(let id): outcome(id) == .failed
        case .taskSkipped(let id): outcome(id) == .skipped
        case .contextValue(let path, let comparison, let value): comparison.holds(for: context[at: path], value)
        }
    }

    /// The ids of all tasks that the rule asks about.
    public var taskIDs: Set<String> {
        switch self {
        case .always, .noneFailedAbove, .contextValue: []
        case .all(let rules), .any(let rules), .none(let rules):
            rules.reduce(into: []) { $0.formUnion($1.taskIDs) }
        case .not(let rule): rule.taskIDs
        case .taskSucceeded(let id), .taskFailed(let id), .taskSkipped(let id): [id]
        }
    }
}
