import FoundationEssentials
import Glibc

/// Files of mode 0600 that did not exist before.
enum PrivateFile {
    /// Makes a file with this content, on the disk when this returns.
    static func create(_ path: String, holding bytes: [UInt8], for account: ServerAccount? = nil) throws {
        let descriptor = try self.create(path)
        defer { close(descriptor) }
        try FileDescriptor.write(bytes, to: descriptor)
        if let account { fchown(descriptor, account.userID, account.groupID) }
        guard fsync(descriptor) == 0 else { throw CommandError.system("can't write \(path)", errno) }
    }

    /// Makes an empty file and returns its descriptor; a file or link of that name is refused.
    static func create(_ path: String) throws -> CInt {
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            if errno == EEXIST {
                throw CommandError(.failed, "\(path) exists already; it is not overwritten")
            }
            throw CommandError.system("can't create \(path)", errno)
        }
        // A mask may have taken rights away, never added some; the owner's two are needed.
        fchmod(descriptor, 0o600)
        return descriptor
    }

    /// A descriptor, at its beginning, on a file with this content and no name any more.
    static func unnamed(holding text: String, beside path: String) throws -> CInt {
        let name = path + ".input"
        unsafe unlink(name)
        let descriptor = try self.create(name)
        unsafe unlink(name)
        do {
            try FileDescriptor.write(text, to: descriptor)
        } catch {
            close(descriptor)
            throw error
        }
        lseek(descriptor, 0, SEEK_SET)
        return descriptor
    }

    /// Opens a server's log for appending.
    static func openLog(_ path: String, for account: ServerAccount) throws -> CInt {
        let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw CommandError.system("can't open \(path)", errno) }
        fchown(descriptor, account.userID, account.groupID)
        return descriptor
    }
}
