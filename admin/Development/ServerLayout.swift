import CloacinaPostgres
import Glibc

/// Which files a development server has, and where.
struct ServerLayout: Sendable, Equatable {
    /// The directory that was asked for, absolute.
    let asked: String
    /// The directory everything lives in.
    let home: String
    let socketDirectory: String

    var data: String { self.home + "/data" }
    /// A cluster that is still being made; renamed to ``data`` once it is whole.
    var unfinishedData: String { self.home + "/data.unfinished" }
    var state: String { self.home + "/state.json" }
    var lock: String { self.home + "/lock" }
    var log: String { self.home + "/server.log" }
    var setupLog: String { self.home + "/setup.log" }
    var isRelocated: Bool { self.asked != self.home }

    /// Puts the server where it was asked for or, when `canReach` says that its user can't get there, into a directory
    /// of `/var/tmp` or `/tmp` that is always the same for the same `asked`.
    init(asked: String, userID: UInt32, canReach: (String) -> Bool) throws {
        let key = String(Digest.sha256Hex(Array("\(userID):\(asked)".utf8)).prefix(16))
        let candidates = [asked, "/var/tmp/cloacina-\(key)", "/tmp/cloacina-\(key)"]
        guard let home = candidates.first(where: canReach) else {
            throw CommandError(.privileges, "the server's user can reach neither \(asked) nor /var/tmp nor /tmp")
        }
        self.asked = asked
        self.home = home
        let socketDirectory = home + "/run"
        self.socketDirectory =
            Self.isUsableForSockets(socketDirectory) ? socketDirectory : "/tmp/cloacina-\(key)-run"
    }

    /// A socket's path must fit `sockaddr_un`, and a comma or quote would need escaping in the setting.
    static func isUsableForSockets(_ directory: String) -> Bool {
        let name = "/.s.PGSQL.65535"
        let isPlain = directory.utf8.allSatisfy {
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0)
                || (UInt8(ascii: "-")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: "_")
        }
        return isPlain && directory.utf8.count + name.utf8.count <= 103
    }

    /// The path without `.`, `..` and doubled slashes, from the root.
    static func absolute(_ path: String, in current: String) -> String {
        var parts: [Substring] = []
        for part in (path.hasPrefix("/") ? path : current + "/" + path).split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }
}
