/// PostgreSQL's own `postmaster.pid`: who runs in a data directory, and whether it answers yet.
struct PostmasterFile: Sendable, Equatable {
    let pid: Int32
    let dataDirectory: String
    let port: Int?
    /// `starting`, `ready`, `stopping` or `standby`; nothing in the first moments.
    let status: String?

    /// Nothing when the file has no process number or no directory yet.
    init?(_ text: String) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(Self.trimmed)
        // A stand-alone backend writes its number negated.
        guard lines.count >= 2, let pid = Int32(lines[0]), pid != .min, !lines[1].isEmpty else { return nil }
        self.pid = abs(pid)
        self.dataDirectory = lines[1]
        self.port = lines.count > 3 ? Int(lines[3], radix: 10) : nil
        self.status = lines.count > 7 && !lines[7].isEmpty ? lines[7] : nil
    }

    var isReady: Bool { self.status == "ready" }

    private static func trimmed(_ line: Substring) -> String {
        var line = line
        while line.last == " " { line.removeLast() }
        return String(line)
    }
}

/// What `/proc` says of one process.
struct ProcessFacts: Sendable, Equatable {
    let state: Character
    /// Clock ticks between boot and the process's start.
    let start: UInt64
    let arguments: [String]
    let workingDirectory: String?

    /// Nothing when `stat` is not the one line that proc(5) describes.
    init?(stat: String, commandLine: String, workingDirectory: String?) {
        // The name in parentheses may hold anything, even parentheses; the fields after the last one are plain.
        guard let end = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[stat.index(after: end)...].split(whereSeparator: \.isWhitespace)
        guard fields.count > 19, let state = fields[0].first, let start = UInt64(fields[19]) else { return nil }
        self.state = state
        self.start = start
        self.arguments = commandLine.split(separator: "\0").map(String.init)
        self.workingDirectory = workingDirectory
    }

    var isAlive: Bool { self.state != "Z" && self.state != "X" }

    /// True for the postmaster itself, started by us in this directory: not a child of it, not a stranger that
    /// inherited its number.
    func isPostmaster(of dataDirectory: String) -> Bool {
        guard self.isAlive, let executable = self.arguments.first?.split(separator: "/").last,
            let flag = self.arguments.firstIndex(of: "-D"), self.arguments.indices.contains(flag + 1)
        else { return false }
        return executable == "postgres" && self.arguments[flag + 1] == dataDirectory
            && self.workingDirectory == dataDirectory
    }
}
