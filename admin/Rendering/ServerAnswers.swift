/// What `dev start` and `dev status` say of a running server.
struct ServerAnswer: Renderable {
    let running = true
    let url: String
    let superuserUrl: String
    let pid: Int32?
    let port: Int
    let directory: String
    let dataDirectory: String
    let socketDirectory: String
    let log: String
    let version: String
    let postgresBin: String
    /// What every start is given, as `name=value`.
    let settings: [String]

    init(_ state: ServerState) {
        self.url = state.url
        self.superuserUrl = state.superuserUrl
        self.pid = state.pid
        self.port = state.port
        self.directory = state.directory
        self.dataDirectory = state.dataDirectory
        self.socketDirectory = state.socketDirectory
        self.log = state.log
        self.version = state.version
        self.postgresBin = state.postgresBin
        self.settings = state.settings ?? []
    }

    static let headings = [
        "url", "superuser url", "version", "port", "pid", "directory", "socket", "log", "programs", "settings",
    ]

    var cells: [String] {
        [
            self.url, self.superuserUrl, self.version, String(self.port), self.pid.map { String($0) } ?? "-",
            self.directory, self.socketDirectory, self.log, self.postgresBin,
            self.settings.isEmpty ? "-" : self.settings.joined(separator: ", "),
        ]
    }
}

/// What `dev status` says when there is no server.
struct StoppedAnswer: Renderable {
    let running = false
    let directory: String

    static let headings = ["running", "directory"]

    var cells: [String] { ["no", self.directory] }
}

/// What `dev stop` says.
struct StopAnswer: Renderable {
    let directory: String
    let stopped: Bool
    let pid: Int32?

    init(directory: String, pid: Int32?) {
        self.directory = directory
        self.stopped = pid != nil
        self.pid = pid
    }

    static let headings = ["stopped", "pid", "directory"]

    var cells: [String] {
        [self.stopped ? "yes" : "no, it did not run", self.pid.map { String($0) } ?? "-", self.directory]
    }
}
