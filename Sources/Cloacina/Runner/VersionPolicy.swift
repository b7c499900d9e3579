/// A runner's way with pipelines that have begun with a version of their workflow that it doesn't have, and that no other runner
/// takes.
public enum VersionPolicy: Sendable, Hashable {
    /// They go on with the current version when their stored history fits it: each line is of a task that this version has, and
    /// that could have begun there, and no task was skipped that this version would run. Checked by replaying the whole history
    /// before anything changes.
    case continueWhenHistoryFits
    /// They wait for a runner that has their version, or for ``DefaultRunner/continueWithCurrentVersion(_:)``.
    case pinned
}
