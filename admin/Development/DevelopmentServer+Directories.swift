import FoundationEssentials
import Glibc

extension DevelopmentServer {
    /// The absolute path, symbolic links of the part that exists resolved, as `/proc` will show it.
    static func canonical(_ path: String) -> String {
        let absolute = ServerLayout.absolute(path, in: FileManager.default.currentDirectoryPath)
        var existing = absolute
        var rest: [Substring] = []
        while existing != "/" {
            if let resolved = unsafe realpath(existing, nil) {
                defer { unsafe free(resolved) }
                return ([unsafe String(cString: resolved)] + rest.map(String.init)).joined(separator: "/")
            }
            guard let slash = existing.lastIndex(of: "/") else { break }
            rest.insert(existing[existing.index(after: slash)...], at: 0)
            existing = slash == existing.startIndex ? "/" : String(existing[..<slash])
        }
        return absolute
    }

    /// Makes the home, and what is missing above it, such that the server's user can pass.
    func makeHome() throws {
        var path = ""
        for component in self.layout.home.split(separator: "/") {
            path += "/" + component
            guard FileFacts(path) == nil else { continue }
            let isHome = path == self.layout.home
            guard unsafe mkdir(path, 0o700) == 0 || errno == EEXIST else {
                throw CommandError.system("can't make the directory \(path)", errno)
            }
            // The mask of this process must not shut the server's user out.
            unsafe chmod(path, !isHome || !self.account.isOurselves ? 0o755 : 0o700)
            if isHome { try? PrivateFile.create(path + "/.gitignore", holding: Array("*\n".utf8)) }
        }
        try self.checkHome()
    }

    /// Refuses a directory that somebody else prepared, as anybody could in `/var/tmp`.
    func checkHome() throws {
        guard let facts = FileFacts(self.layout.home), facts.isDirectory else {
            throw CommandError(.failed, "\(self.layout.home) is not a directory")
        }
        guard facts.owner == geteuid() else {
            throw CommandError(
                .privileges, "\(self.layout.home) belongs to user number \(facts.owner)",
                hint: "run this as that user, or choose another --directory")
        }
        guard facts.mode & 0o022 == 0 else {
            throw CommandError(.privileges, "others may write to \(self.layout.home)", hint: "chmod go-w it")
        }
    }

    /// Makes a directory of the server's user; one that exists must be theirs.
    func makeDirectory(_ path: String, mode: UInt32) throws {
        if unsafe mkdir(path, mode) == 0 {
            guard unsafe chmod(path, mode) == 0, unsafe chown(path, self.account.userID, self.account.groupID) == 0
            else {
                throw CommandError.system("can't prepare the directory \(path)", errno)
            }
            return
        }
        guard errno == EEXIST else { throw CommandError.system("can't make the directory \(path)", errno) }
        guard let facts = FileFacts(path), facts.isDirectory, facts.owner == self.account.userID else {
            throw CommandError(.privileges, "\(path) exists and does not belong to the server's user")
        }
    }
}
