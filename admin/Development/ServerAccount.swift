import Glibc

/// The operating-system user a server runs as.
struct ServerAccount: Sendable, Equatable {
    let name: String
    let userID: UInt32
    let groupID: UInt32

    /// Ourselves, unless we are root: PostgreSQL refuses root, so then `postgres`, or `nobody` where that is missing.
    static func forServer() throws -> ServerAccount {
        let userID = geteuid()
        guard userID == 0 else { return ServerAccount(name: "", userID: userID, groupID: getegid()) }
        guard let account = self.named("postgres") ?? self.named("nobody") else {
            throw CommandError(
                .privileges, "PostgreSQL never runs as root, and there is neither a user postgres nor nobody",
                hint: "run this as an ordinary user")
        }
        return account
    }

    private static func named(_ name: String) -> ServerAccount? {
        guard let entry = unsafe getpwnam(name) else { return nil }
        return unsafe ServerAccount(name: name, userID: entry.pointee.pw_uid, groupID: entry.pointee.pw_gid)
    }

    /// False when root starts the server for somebody else.
    var isOurselves: Bool { self.userID == geteuid() }

    /// The command line that runs a program as this user.
    func command(_ executable: String, _ arguments: [String]) -> [String] {
        if self.isOurselves { return [executable] + arguments }
        // Our own directory may be one that this user can't enter.
        return [
            "env", "-C", "/", "setpriv", "--reuid=\(self.userID)", "--regid=\(self.groupID)", "--clear-groups", "--",
            executable,
        ] + arguments
    }

    /// Whether this user may pass through a directory with these owners and mode.
    func mayPass(owner: UInt32, group: UInt32, mode: UInt32) -> Bool {
        if self.userID == 0 { return true }
        if owner == self.userID { return mode & 0o100 != 0 }
        if group == self.groupID { return mode & 0o010 != 0 }
        return mode & 0o001 != 0
    }

    /// Whether this user may pass through every existing directory on the way to `path`.
    func canReach(_ path: String) -> Bool {
        var prefix = ""
        for component in [""] + path.split(separator: "/").map(String.init) {
            prefix = component.isEmpty ? "/" : (prefix == "/" ? "/" : prefix + "/") + component
            guard let facts = FileFacts(prefix, followingLinks: true) else { return true }
            if !self.mayPass(owner: facts.owner, group: facts.group, mode: facts.mode) { return false }
        }
        return true
    }
}

/// Owner, mode and identity of one file.
struct FileFacts: Sendable, Equatable {
    let owner: UInt32
    let group: UInt32
    let mode: UInt32
    let inode: UInt

    /// Nothing when there is no such file.
    init?(_ path: String, followingLinks: Bool = false) {
        var facts = stat()
        let code = unsafe followingLinks ? stat(path, &facts) : lstat(path, &facts)
        guard code == 0 else { return nil }
        self.owner = facts.st_uid
        self.group = facts.st_gid
        self.mode = facts.st_mode
        self.inode = facts.st_ino
    }

    var isDirectory: Bool { self.mode & S_IFMT == S_IFDIR }
}
