public import Cloacina

/// Expectations for any test library: each throws when it is not met, and else returns the result for the next one.
extension PipelineResult {
    /// Checks how the pipeline ended.
    ///
    /// - Throws: ``UnmetExpectation`` with ``UnmetExpectation/Code/status``, naming the tasks that failed.
    @discardableResult
    public func expect(
        _ status: PipelineStatus, fileID: String = #fileID, line: Int = #line
    ) throws(UnmetExpectation) -> Self {
        guard self.status != status else { return self }
        let failures = self.tasks.filter { $0.status == .failed }.map { "; \($0.summary)" }.joined()
        throw UnmetExpectation(
            .status, "\(self.workflow): expected \(status), was \(self.status)\(failures)", fileID: fileID, line: line)
    }

    /// Checks how a task ended.
    ///
    /// - Throws: ``UnmetExpectation`` with ``UnmetExpectation/Code/status`` or ``UnmetExpectation/Code/noSuchTask``.
    @discardableResult
    public func expect(
        _ task: String, _ status: TaskStatus, fileID: String = #fileID, line: Int = #line
    ) throws(UnmetExpectation) -> Self {
        let found = try self.known(task, fileID, line)
        guard found.status != status else { return self }
        throw UnmetExpectation(
            .status, "\(self.workflow): expected \(status), but \(found.summary)", fileID: fileID, line: line)
    }

    /// Checks that a task was skipped, and why.
    ///
    /// - Parameter reason: A part of the reason, such as the name of the task that failed; any reason by default.
    /// - Throws: ``UnmetExpectation`` with ``UnmetExpectation/Code/status``, ``UnmetExpectation/Code/reason`` or
    ///   ``UnmetExpectation/Code/noSuchTask``.
    @discardableResult
    public func expectSkipped(
        _ task: String, because reason: String? = nil, fileID: String = #fileID, line: Int = #line
    ) throws(UnmetExpectation) -> Self {
        try self.expect(task, .skipped, fileID: fileID, line: line)
            .expectReason(task, reason, fileID: fileID, line: line)
    }

    /// Checks that a task failed, and with what.
    ///
    /// - Parameter error: A part of the last error's text; any error by default.
    /// - Throws: ``UnmetExpectation``, as above.
    @discardableResult
    public func expectFailed(
        _ task: String, with error: String? = nil, fileID: String = #fileID, line: Int = #line
    ) throws(UnmetExpectation) -> Self {
        try self.expect(task, .failed, fileID: fileID, line: line)
            .expectReason(task, error, fileID: fileID, line: line)
    }

    /// Checks how many attempts at a task were begun; 0 for one that never ran.
    ///
    /// - Throws: ``UnmetExpectation`` with ``UnmetExpectation/Code/attempts`` or ``UnmetExpectation/Code/noSuchTask``.
    @discardableResult
    public func expectAttempts(
        _ task: String, _ count: Int, fileID: String = #fileID, line: Int = #line
    ) throws(UnmetExpectation) -> Self {
        let found = try self.known(task, fileID, line)
        guard found.attempt != count else { return self }
        throw UnmetExpectation(
            .attempts, "\(self.workflow): expected \(count) attempts, but \(found.summary)", fileID: fileID, line: line)
    }

    /// Checks a value of the final context, as JSON: an object has exactly these keys, and `1` is not `1.0`.
    ///
    /// - Throws: ``UnmetExpectation`` with ``UnmetExpectation/Code/context``.
    @discardableResult
    public func expectContext(
        _ key: String, equals value: some Encodable, fileID: String = #fileID, line: Int = #line
    ) throws(UnmetExpectation) -> Self {
        let expected: JSONValue
        do {
            expected = try JSONValue(encoding: value)
        } catch {
            throw UnmetExpectation(
                .context, "\(self.workflow): what \"\(key)\" is expected to be is no JSON: \(error)", fileID: fileID,
                line: line)
        }
        guard self.finalContext[key] != expected else { return self }
        let found =
            self.finalContext[key].map { "was \($0)" } ?? "there is none; the keys are \(self.finalContext.keys)"
        throw UnmetExpectation(
            .context, "\(self.workflow): expected \"\(key)\" to be \(expected), \(found)", fileID: fileID, line: line)
    }

    /// Checks that the final context has no such key.
    ///
    /// - Throws: ``UnmetExpectation`` with ``UnmetExpectation/Code/context``.
    @discardableResult
    public func expectNoContext(
        _ key: String, fileID: String = #fileID, line: Int = #line
    ) throws(UnmetExpectation) -> Self {
        guard let value = self.finalContext[key] else { return self }
        throw UnmetExpectation(
            .context, "\(self.workflow): expected no \"\(key)\", was \(value)", fileID: fileID, line: line)
    }

    private func expectReason(
        _ task: String, _ reason: String?, fileID: String, line: Int
    ) throws(UnmetExpectation) -> Self {
        let found = try self.known(task, fileID, line)
        guard let reason, !(found.error ?? "").contains(reason) else { return self }
        throw UnmetExpectation(
            .reason, "\(self.workflow): expected a reason with '\(reason)', but \(found.summary)", fileID: fileID,
            line: line)
    }

    private func known(_ task: String, _ fileID: String, _ line: Int) throws(UnmetExpectation) -> TaskResult {
        guard let found = self.task(task) else {
            throw UnmetExpectation(
                .noSuchTask, "\(self.workflow) has no task \"\(task)\", only \(self.tasks.map(\.id))", fileID: fileID,
                line: line)
        }
        return found
    }
}

extension TaskResult {
    /// The task in a few words.
    fileprivate var summary: String {
        let attempts = self.attempt == 1 ? "1 attempt" : "\(self.attempt) attempts"
        return "\"\(self.id)\" was \(self.status) after \(attempts)" + (self.error.map { ": \($0)" } ?? "")
    }
}
