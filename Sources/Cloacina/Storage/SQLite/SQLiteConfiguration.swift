/// How a file of pipelines is opened.
public struct SQLiteConfiguration: Sendable, Hashable {
    /// When a commit counts as done.
    public enum Synchronous: String, Sendable, Hashable, CaseIterable {
        /// When the disk says it has it: what was reported as done outlives a loss of power.
        case full = "FULL"
        /// When the operating system has it. It outlives the process; a loss of power may take the last commits back, all of
        /// each, so tasks whose completion was in one run again. The file stays sound.
        case normal = "NORMAL"
    }

    /// When a commit counts as done: ``Synchronous/full``.
    public var synchronous = Synchronous.full

    /// How long a write waits for other connections and processes that write to the same file: 5 s. After that it fails with
    /// ``SQLiteError/Code/busy``, which runners try again as long as their patience lasts.
    public var busyTimeout: Duration = .seconds(5)

    /// How many connections read beside the one that writes: 2. Each is opened when it is first needed. At least 1.
    public var maximumReaders = 2

    /// Makes a configuration of the defaults.
    public init() {}
}
