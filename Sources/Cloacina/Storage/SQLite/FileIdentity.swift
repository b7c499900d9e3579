import Glibc

/// Which file a path led to. A connection goes on writing to a file that was deleted, and nobody would ever read it.
struct FileIdentity: Sendable, Hashable {
    private let device: UInt64
    private let number: UInt64

    /// Nil when there is no file.
    init?(path: String) {
        var facts = stat()
        guard unsafe stat(path, &facts) == 0 else { return nil }
        self.device = UInt64(truncatingIfNeeded: facts.st_dev)
        self.number = UInt64(truncatingIfNeeded: facts.st_ino)
    }
}
