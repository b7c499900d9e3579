import Glibc

/// What a credentials file holds: these five keys and no other.
struct CredentialsDocument: Renderable, Equatable {
    let tenant: String
    let schema: String
    let username: String
    let password: String
    let connectionString: String

    static let headings = ["tenant", "schema", "username", "password", "connection string"]

    var cells: [String] { [self.tenant, self.schema, self.username, self.password, self.connectionString] }
}

/// A file for a secret that does not exist yet: made, with room on the disk, before the secret is.
struct CredentialsFile: ~Copyable {
    let path: String
    private let descriptor: CInt

    /// Makes the file with mode 0600; one that exists is refused.
    init(creating path: String) throws {
        let descriptor = try PrivateFile.create(path)
        // A full disk shows itself now, not when there is a secret. Not every file system can reserve.
        let code = posix_fallocate(descriptor, 0, 4096)
        if code == ENOSPC || code == EDQUOT {
            close(descriptor)
            unsafe unlink(path)
            throw CommandError.system("can't write \(path)", code)
        }
        self.path = path
        self.descriptor = descriptor
    }

    /// Writes the document; on the disk, name and all, when this returns.
    borrowing func write(_ document: some Encodable) throws {
        let text = try Renderer.json(document, indented: true) + "\n"
        try FileDescriptor.write(text, to: self.descriptor)
        guard ftruncate(self.descriptor, text.utf8.count) == 0, fsync(self.descriptor) == 0 else {
            throw CommandError.system("can't write \(self.path)", errno)
        }
        let slash = self.path.lastIndex(of: "/")
        let directory = slash.map { $0 == self.path.startIndex ? "/" : String(self.path[..<$0]) } ?? "."
        let parent = unsafe open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard parent >= 0 else { return }
        fsync(parent)
        close(parent)
    }

    /// Removes the file again: there is no secret to keep in it.
    consuming func discard() {
        unsafe unlink(self.path)
    }

    deinit { close(self.descriptor) }
}
