extension WorkflowError.Code {
    /// A ``TriggerRule`` that no task can have, a text that isn't one, or ``WorkflowTask/handles`` that can't hold.
    public static let invalidRule = Self(base: .invalidRule)
}

extension TriggerRule {
    /// How deep rules may hold each other: a rule that holds none has the depth 1.
    public static let maximumDepth = 64

    /// Refuses a rule that can't be evaluated as it was meant.
    ///
    /// - Parameter ids: The tasks that the rule may ask about: those that its task waits for, directly or not. Any other may
    ///   still be running when the rule is evaluated.
    /// - Throws: ``WorkflowError`` with ``WorkflowError/Code/invalidRule`` when the rule asks about another task, with the
    ///   name that was probably meant; when a path can't be read; when a value is none that JSON can hold; or when the rule
    ///   is deeper than ``maximumDepth``.
    public func validate(
        waitingFor ids: some Collection<String>, fileID: String = #fileID, line: Int = #line
    ) throws(WorkflowError) {
        try self.validate(fileID: fileID, line: line)
        let known = Set(ids)
        guard let stranger = self.taskIDs.subtracting(known).min() else { return }
        throw WorkflowError(
            .invalidRule, "the rule asks about \"\(stranger)\", which its task doesn't wait for",
            suggestion: NameSuggestion.nearest(to: stranger, in: known.sorted()), fileID: fileID, line: line)
    }

    /// Refuses what makes no sense whatever the workflow is.
    func validate(depth: Int = 1, fileID: String, line: Int) throws(WorkflowError) {
        guard depth <= Self.maximumDepth else {
            throw WorkflowError(
                .invalidRule, "the rule is deeper than \(Self.maximumDepth) levels", fileID: fileID, line: line)
        }
        switch self {
        case .always, .taskSucceeded, .taskFailed, .taskSkipped, .noneFailedAbove: return
        case .all(let rules), .any(let rules), .none(let rules):
            for rule in rules { try rule.validate(depth: depth + 1, fileID: fileID, line: line) }
        case .not(let rule): try rule.validate(depth: depth + 1, fileID: fileID, line: line)
        case .contextValue(let path, _, let value):
            try path.validate(fileID: fileID, line: line)
            // In JSON, a level of rules is an object and mostly an array.
            do {
                try value.check(depth: 2 * depth, fileID: fileID, line: line)
            } catch {
                throw WorkflowError(.invalidRule, error.message, fileID: fileID, line: line)
            }
        }
    }
}
