import Glibc

/// An advisory lock on a file, gone at the latest when the process ends.
struct FileLock: ~Copyable {
    private let descriptor: CInt

    /// Takes the lock; calls `onWait` once if somebody else has it.
    ///
    /// - Throws: ``CommandError`` of status ``CommandStatus/lockBusy`` when it is not free within `patience`.
    static func acquire(_ path: String, patience: Duration, onWait: () -> Void) async throws -> FileLock {
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw CommandError.system("can't open \(path)", errno) }
        let deadline = ContinuousClock.now + patience
        var isWaiting = false
        do {
            while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
                guard errno == EWOULDBLOCK || errno == EINTR else {
                    throw CommandError.system("can't lock \(path)", errno)
                }
                if !isWaiting {
                    isWaiting = true
                    onWait()
                }
                guard ContinuousClock.now < deadline else {
                    throw CommandError(.lockBusy, "another command has held \(path) for \(patience)")
                }
                try await Task.sleep(for: .milliseconds(20))
            }
        } catch {
            close(descriptor)
            throw error
        }
        return FileLock(descriptor: descriptor)
    }

    borrowing func release() {
        flock(self.descriptor, LOCK_UN)
    }

    deinit { close(self.descriptor) }
}
