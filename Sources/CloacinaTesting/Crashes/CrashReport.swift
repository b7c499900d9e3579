public import Cloacina

/// What became of a workflow whose processes died, and of its tasks.
public struct CrashReport: Sendable {
    /// Where processes died, in order; empty for the run without a crash that comes first.
    public let crashes: [Crash]
    /// What came of the pipeline in the end; nil when the process died before it was stored, and so never was one.
    public let result: PipelineResult?
    /// Its history, empty when there never was one.
    public let history: [PipelineEvent]
    /// Every beginning of a task's code, over all processes.
    public let beginnings: [TaskBeginning]

    /// How often a task's code began, over all processes.
    public func begins(_ task: String) -> Int { self.beginnings.count { $0.task == task } }

    /// Checks that a task's code began so often at most.
    ///
    /// - Throws: ``UnmetExpectation`` with ``UnmetExpectation/Code/begins``, naming the crashes.
    @discardableResult
    public func expectBegins(
        _ task: String, atMost count: Int, fileID: String = #fileID, line: Int = #line
    ) throws(UnmetExpectation) -> Self {
        let found = self.begins(task)
        guard found > count else { return self }
        throw UnmetExpectation(
            .begins, "expected \"\(task)\" to begin \(count) times at most, it began \(found) times; \(self)",
            fileID: fileID, line: line)
    }
}

extension CrashReport: CustomStringConvertible {
    /// Where the processes died, and how it ended.
    public var description: String {
        let crashes = self.crashes.isEmpty ? "no crash" : self.crashes.map { "crash \($0)" }.joined(separator: ", ")
        return "\(crashes): \(self.result.map { "\($0.status)" } ?? "never stored")"
    }
}
