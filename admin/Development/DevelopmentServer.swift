import FoundationEssentials
import Glibc

/// A private PostgreSQL of one project: own data directory, own socket directory, own port on 127.0.0.1.
///
/// It survives the command that started it. Nothing but its own data directory is ever read or signalled: a process
/// counts as this server only when `/proc` says that it is a postmaster with that directory.
struct DevelopmentServer: Sendable {
    /// How long a server may take to answer, or to end.
    var patience: Duration = .seconds(90)

    let account: ServerAccount
    let layout: ServerLayout
    let binaries: String?
    let settings: [ServerSetting]
    let forgetsSettings: Bool
    let report: @Sendable (String) -> Void

    /// Describes the server of `directory`; nothing is touched yet.
    ///
    /// - Parameters:
    ///   - directory: where it lives; relative to the current directory.
    ///   - binaries: the directory of `initdb` and `postgres`; nothing means the newest that is installed.
    ///   - settings: lines of postgresql.conf on top of ``ServerSetting/defaults`` and of what earlier starts were given; kept for
    ///     every later start.
    ///   - forgetsSettings: whether what earlier starts were given counts no more.
    ///   - report: is told, in sentences, what a person should know.
    init(
        directory: String = DevelopmentServer.defaultDirectory, binaries: String? = nil,
        settings: [ServerSetting] = [], forgetsSettings: Bool = false,
        report: @escaping @Sendable (String) -> Void = { _ in }
    ) throws {
        if let setting = settings.first(where: { ServerSetting.reserved.contains($0.name) }) {
            throw CommandError(.usage, "--setting: \(setting.name) is what keeps this server private")
        }
        let account = try ServerAccount.forServer()
        self.account = account
        self.layout = try ServerLayout(
            asked: Self.canonical(directory), userID: account.userID,
            canReach: { path in
                // A directory of somebody else's is not to be avoided but refused, which starting and stopping do.
                FileFacts(path).map { $0.owner != geteuid() } == true || account.canReach(path)
            })
        self.binaries = binaries.map { ServerLayout.absolute($0, in: FileManager.default.currentDirectoryPath) }
        self.settings = settings
        self.forgetsSettings = forgetsSettings
        self.report = report
    }

    static let defaultDirectory = ".cloacina/postgres"

    /// Where it lives.
    var directory: String { self.layout.home }

    /// The running server, or nothing.
    func status() throws -> ServerState? {
        guard let running = self.running(), running.isReady else { return nil }
        return try self.state(of: running)
    }

    /// Starts the server, makes it first if there is none, and returns when it answers. One that runs is left alone.
    func start() async throws -> ServerState {
        try self.makeHome()
        let lock = try await FileLock.acquire(self.layout.lock, patience: self.patience) {
            self.report("another command is starting or stopping this server; waiting for it")
        }
        defer { lock.release() }
        if self.layout.isRelocated {
            self.report(
                "user \(self.account.name), who runs the server for root, can't reach \(self.layout.asked); "
                    + "it lives in \(self.layout.home)")
        }
        if let running = self.running() {
            try await self.waitUntilReady(running.pid, child: nil)
            return try self.keepSettings(in: try self.state(of: running))
        }
        let installation = try await self.installation()
        let secrets = try await self.prepareCluster(installation)
        return try await self.launch(installation, secrets)
    }

    /// Ends exactly this server and returns its process number, or nothing if it did not run.
    @discardableResult
    func stop() async throws -> Int32? {
        guard FileFacts(self.layout.home) != nil else { return nil }
        try self.checkHome()
        let lock = try await FileLock.acquire(self.layout.lock, patience: self.patience) {
            self.report("another command is starting or stopping this server; waiting for it")
        }
        defer { lock.release() }
        guard let running = self.running() else { return nil }
        try await self.end(running.pid)
        if var state = self.savedState(pid: running.pid) {
            state.pid = nil
            state.processStart = nil
            try self.save(state)
        }
        return running.pid
    }
}
