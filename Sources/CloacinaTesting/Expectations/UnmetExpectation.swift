/// What a test expected and did not find.
///
/// `description` says what was expected and what was there, values of the context included: it is for a test's report. Any test
/// library shows it when the error is thrown out of the test.
public struct UnmetExpectation: Error, Sendable {
    /// What was not as expected.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        enum Base: String { case noSuchTask, status, reason, attempts, context, order, begins, stalled }
        let base: Base

        /// The workflow has no task of that id.
        public static let noSuchTask = Self(base: .noSuchTask)
        /// The pipeline or the task ended in another state.
        public static let status = Self(base: .status)
        /// A task failed or was skipped for another reason.
        public static let reason = Self(base: .reason)
        /// A task was tried more or less often.
        public static let attempts = Self(base: .attempts)
        /// The final context has another value, or none.
        public static let context = Self(base: .context)
        /// Tasks began in another order.
        public static let order = Self(base: .order)
        /// A task's code began more often.
        public static let begins = Self(base: .begins)
        /// The clock went on and on and no task began or ended, as when a pipeline is paused.
        public static let stalled = Self(base: .stalled)

        /// The code's name.
        public var description: String { self.base.rawValue }
    }

    /// What was not as expected.
    public let code: Code
    /// What was expected, and what was there.
    public let message: String
    /// Where the expectation stands.
    public let fileID: String
    /// The line of the expectation.
    public let line: Int

    init(_ code: Code, _ message: String, fileID: String = #fileID, line: Int = #line) {
        self.code = code
        self.message = message
        self.fileID = fileID
        self.line = line
    }

    static func stalled() -> Self {
        Self(.stalled, "the clock went on \(TestClockState.maximumIdleMoves) times and no task began or ended")
    }
}

extension UnmetExpectation: CustomStringConvertible {
    /// What was expected, what was there, and where that was asked for.
    public var description: String { "\(self.message) (\(self.fileID):\(self.line))" }
}
