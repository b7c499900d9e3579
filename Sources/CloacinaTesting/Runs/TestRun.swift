public import Cloacina

/// What came of a workflow that a test ran, and how.
public struct TestRun: Sendable {
    /// What came of it.
    public let result: PipelineResult
    /// Its history.
    public let history: [PipelineEvent]
    /// Every attempt that began, in the order in which they did.
    public let beginnings: [TaskBeginning]

    /// The tasks in the order in which their attempts began; one that was tried again is in it again.
    public var order: [String] { self.beginnings.map(\.task) }

    /// Checks the order in which attempts began.
    ///
    /// - Throws: ``UnmetExpectation`` with ``UnmetExpectation/Code/order``.
    @discardableResult
    public func expectOrder(
        _ tasks: String..., fileID: String = #fileID, line: Int = #line
    ) throws(UnmetExpectation) -> Self {
        guard self.order != tasks else { return self }
        throw UnmetExpectation(
            .order, "\(self.result.workflow): expected the order \(tasks), was \(self.order)", fileID: fileID,
            line: line)
    }
}
