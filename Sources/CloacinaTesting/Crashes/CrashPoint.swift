/// Where a process dies: before or after one of its writes.
///
/// Between two writes nothing is stored, so to the next process dying anywhere between them is the same as dying after the
/// first or before the second, as far as the tasks' own effects outside had been done by then.
public struct CrashPoint: Sendable, Hashable, CustomStringConvertible {
    /// On which side of the write.
    public enum Side: String, Sendable, Hashable, CaseIterable {
        /// The write never happens.
        case before
        /// The write is stored, and the process does not live to see it.
        case after
    }

    /// On which side of the write.
    public let side: Side
    /// Which of the process's writes, from 1.
    public let write: Int

    /// The moment before a write, which never happens.
    public static func before(_ write: Int) -> Self { Self(side: .before, write: write) }

    /// The moment after a write, which is stored.
    public static func after(_ write: Int) -> Self { Self(side: .after, write: write) }

    /// The side and the number.
    public var description: String { "\(self.side) write \(self.write)" }
}

/// A death that happened.
public struct Crash: Sendable, Hashable, CustomStringConvertible {
    /// Where; nil when a task's code said so with ``CrashTest/die(_:)``.
    public let point: CrashPoint?
    /// What was written there, in words such as `task completed: load`, or what the task's code said.
    public let place: String

    /// Where, and what was written there.
    public var description: String { self.point.map { "\($0) (\(self.place))" } ?? self.place }
}
