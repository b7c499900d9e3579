/// The modes of PostgreSQL's table-level locks, which its objects' locks have too.
///
/// Source: PostgreSQL's documentation, Explicit Locking, "Conflicting Lock Modes".
enum LockModes {
    /// The modes from the weakest to the strongest, each with those that it conflicts with.
    static let conflicts: [(mode: String, with: [String])] = [
        ("AccessShareLock", ["AccessExclusiveLock"]),
        ("RowShareLock", ["ExclusiveLock", "AccessExclusiveLock"]),
        ("RowExclusiveLock", ["ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"]),
        (
            "ShareUpdateExclusiveLock",
            ["ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"]
        ),
        (
            "ShareLock",
            [
                "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareRowExclusiveLock", "ExclusiveLock",
                "AccessExclusiveLock",
            ]
        ),
        (
            "ShareRowExclusiveLock",
            [
                "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock",
                "AccessExclusiveLock",
            ]
        ),
        (
            "ExclusiveLock",
            [
                "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock",
                "ExclusiveLock", "AccessExclusiveLock",
            ]
        ),
        (
            "AccessExclusiveLock",
            [
                "AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock",
                "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock",
            ]
        ),
    ]

    /// A condition that a lock in one mode keeps somebody waiting who asks for it in another one.
    static func conflict(_ held: String, _ wanted: String) -> String {
        let pairs = self.conflicts.map { entry in
            "(\(held) = '\(entry.mode)' AND \(wanted) IN (\(entry.with.map { "'\($0)'" }.joined(separator: ", "))))"
        }
        return "(" + pairs.joined(separator: " OR ") + ")"
    }
}
