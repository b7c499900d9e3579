import FoundationEssentials
import Glibc

/// What a credentials file holds: these five keys and no other.
struct CredentialsDocument: Renderable, Codable, Equatable {
    let tenant: String
    let schema: String
    let username: String
    let password: String
    let connectionString: String

    static let headings = ["tenant", "schema", "username", "password", "connection string"]

    var cells: [String] { [self.tenant, self.schema, self.username, self.password, self.connectionString] }
}

/// A file for a secret that does not exist yet: a draft beside it, with room on the disk, before the secret is.
///
/// The file gets its name when it is whole, in one step that never overwrites. A draft that a killed process left is taken
/// over, and so is an empty file of that name, as earlier versions left them.
final class CredentialsFile: Sendable {
    let path: String
    private let draft: String
    private let descriptor: CInt

    /// Makes the draft with mode 0600; a file of the name that holds anything is refused.
    init(creating path: String) throws {
        guard try Self.isFree(path) else {
            throw CommandError(.failed, "\(path) exists already; it is not overwritten")
        }
        self.path = path
        self.draft = Self.draft(of: path)
        self.descriptor = try Self.open(draft: self.draft, path)
        // A full disk shows itself now, not when there is a secret. Not every file system can reserve.
        let code = posix_fallocate(self.descriptor, 0, Self.roomBytes)
        if code == ENOSPC || code == EDQUOT {
            unsafe unlink(self.draft)
            throw CommandError.system("can't write \(path)", code)
        }
    }

    deinit { close(self.descriptor) }

    /// Writes the document and gives it its name; on the disk, name and all, when this returns.
    func write(_ document: some Encodable) throws {
        let text = try Renderer.json(document, indented: true) + "\n"
        guard lseek(self.descriptor, 0, SEEK_SET) == 0 else {
            throw CommandError.system("can't write \(self.path)", errno)
        }
        try FileDescriptor.write(text, to: self.descriptor)
        guard ftruncate(self.descriptor, off_t(clamping: text.utf8.count)) == 0, fsync(self.descriptor) == 0 else {
            throw CommandError.system("can't write \(self.path)", errno)
        }
        if FileFacts(self.path) != nil, try Self.isFree(self.path) { unsafe unlink(self.path) }
        guard unsafe link(self.draft, self.path) == 0 else {
            if errno == EEXIST {
                throw CommandError(.failed, "\(self.path) exists already; it is not overwritten")
            }
            throw CommandError.system("can't give \(self.draft) the name \(self.path)", errno)
        }
        unsafe unlink(self.draft)
        Self.syncDirectory(of: self.path)
    }

    /// Removes the draft: there is no secret to keep in it.
    func discard() {
        unsafe unlink(self.draft)
    }

    // MARK: What is there already

    /// What a whole file of the name holds, when it is the caller's own and nobody else may read it; nil when there is none,
    /// or one that holds nothing.
    static func kept<Document: Decodable>(_ type: Document.Type, at path: String) throws -> Document? {
        guard try !self.isFree(path) else { return nil }
        guard let facts = FileFacts(path), facts.mode & S_IFMT == S_IFREG else {
            throw CommandError(.failed, "\(path) is no plain file; it is left alone", hint: "name another")
        }
        guard facts.owner == geteuid() else {
            throw CommandError(.failed, "\(path) belongs to another user; it is left alone", hint: "name another")
        }
        guard facts.mode & 0o077 == 0 else {
            throw CommandError(
                .failed, "others may get at \(path), so what it holds is no secret", hint: "remove it, or name another")
        }
        guard let bytes = FileManager.default.contents(atPath: path), bytes.count < 1 << 20,
            let document = try? JSONDecoder().decode(type, from: bytes)
        else {
            throw CommandError(
                .failed, "\(path) exists and holds no credentials; it is not overwritten",
                hint: "remove it, or name another")
        }
        // A process that was killed between the two left the draft's name on the same file.
        let draft = self.draft(of: path)
        if let leftover = FileFacts(draft), leftover.inode == facts.inode { unsafe unlink(draft) }
        return document
    }

    private static func draft(of path: String) -> String { path + ".part" }

    /// Room for any document.
    private static let roomBytes: off_t = 4096

    /// Whether a name is free: nothing is there, or a private file of the caller's own that holds no byte but NULs.
    private static func isFree(_ path: String) throws -> Bool {
        guard let facts = FileFacts(path) else { return true }
        guard facts.mode & S_IFMT == S_IFREG, facts.mode & 0o077 == 0, facts.owner == geteuid() else { return false }
        let descriptor = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        let bytes = try FileDescriptor.readAll(descriptor, limit: 8192)
        return bytes.count <= 4096 && bytes.allSatisfy { $0 == 0 }
    }

    /// Makes the draft, or takes over the one that a killed process left; nobody else writes to it until it is closed.
    private static func open(draft: String, _ path: String) throws -> CInt {
        for _ in 0..<8 {
            let flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK
            let descriptor = unsafe Glibc.open(draft, flags, 0o600)
            guard descriptor >= 0 else { throw CommandError.system("can't create \(path)", errno) }
            if try self.isOurs(descriptor, draft) {
                // A mask may have taken rights away, never added some; the owner's two are needed.
                fchmod(descriptor, 0o600)
                if ftruncate(descriptor, 0) == 0 { return descriptor }
            }
            close(descriptor)
        }
        throw CommandError(.lockBusy, "another process is writing \(path); try again")
    }

    /// Locks an open draft; false when another process finished or gave up the file between opening and locking.
    private static func isOurs(_ descriptor: CInt, _ draft: String) throws -> Bool {
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw CommandError(.lockBusy, "another process is writing \(draft); try again")
        }
        var facts = stat()
        guard unsafe fstat(descriptor, &facts) == 0, facts.st_mode & S_IFMT == S_IFREG, facts.st_uid == geteuid(),
            facts.st_mode & 0o077 == 0
        else {
            close(descriptor)
            throw CommandError(
                .failed, "\(draft) exists and is not a private file of yours; it is left alone", hint: "remove it")
        }
        // Linked under its final name already, or without a name: not a draft any more.
        if facts.st_nlink == 2 { unsafe unlink(draft) }
        guard facts.st_nlink == 1, let named = FileFacts(draft) else { return false }
        return named.inode == facts.st_ino
    }

    private static func syncDirectory(of path: String) {
        let slash = path.lastIndex(of: "/")
        let directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let parent = unsafe Glibc.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard parent >= 0 else { return }
        fsync(parent)
        close(parent)
    }
}
