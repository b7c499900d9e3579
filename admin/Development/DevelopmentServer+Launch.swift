import FoundationEssentials
import Glibc

extension DevelopmentServer {
    /// The server ended instead of answering.
    struct StartFailure: Error {
        let log: String
        let status: Int32

        /// Another process took the port first, or the backends of a killed postmaster still hold its memory.
        var isWorthAnotherTry: Bool {
            self.log.contains("Address already in use") || self.log.contains("pre-existing shared memory block")
        }
    }

    func launch(_ installation: Installation, _ secrets: ServerSecrets) async throws -> ServerState {
        var port = try LocalPort.free(preferring: self.savedState()?.port)
        let deadline = ContinuousClock.now + .seconds(20)
        while true {
            do {
                return try await self.launch(installation, secrets, port: port)
            } catch let failure as StartFailure {
                guard failure.isWorthAnotherTry, ContinuousClock.now < deadline else {
                    throw CommandError(
                        .failed, "the server did not start: \(Self.complaint(in: failure.log))",
                        hint: "its log is \(self.layout.log)" + self.settingsHint)
                }
                try await Task.sleep(for: .milliseconds(200))
                port = try LocalPort.free(preferring: nil)
            }
        }
    }

    func launch(
        _ installation: Installation, _ secrets: ServerSecrets, port: Int
    ) async throws -> ServerState {
        try self.makeDirectory(self.layout.socketDirectory, mode: 0o700)
        let log = try PrivateFile.openLog(self.layout.log, for: self.account)
        defer { close(log) }
        let given = self.effectiveSettings()
        let settings =
            ServerSetting.defaults + given + [
                ServerSetting("port", String(port)), ServerSetting("listen_addresses", "127.0.0.1"),
                ServerSetting("unix_socket_directories", self.layout.socketDirectory),
            ]
        let child = try ChildProcess.start(
            self.account.command(
                installation.binaries.postgres,
                ["-D", self.layout.data] + settings.flatMap { ["-c", "\($0.name)=\($0.value)"] }),
            environment: ChildProcess.environment(
                for: installation.binaries, inheriting: ProcessInfo.processInfo.environment),
            output: log)
        do {
            try await self.waitUntilReady(child.processID, child: child)
            let state = ServerState(
                pid: child.processID, processStart: ProcessFacts(processID: child.processID)?.start, port: port,
                directory: self.layout.home, dataDirectory: self.layout.data,
                socketDirectory: self.layout.socketDirectory, log: self.layout.log,
                url: secrets.administratorURL(port: port), superuserUrl: secrets.superuserURL(port: port),
                version: installation.version, postgresBin: installation.binaries.directory,
                settings: given.map(\.text))
            try self.save(state)
            return state
        } catch {
            if !(error is StartFailure) {
                // Interrupted half-way: what we started ends with us. A task of its own, since this one is cancelled.
                try? await Task { try await self.end(child.processID) }.value
            }
            throw error
        }
    }

    /// A setting that the server doesn't take would keep it from starting for ever.
    private var settingsHint: String {
        let settings = self.effectiveSettings().map(\.text)
        return settings.isEmpty
            ? ""
            : "; it was given \(settings.joined(separator: ", ")), and dev start --forget-settings drops what was kept"
    }

    func logTail() -> String {
        guard let text = try? String(contentsOfFile: self.layout.log, encoding: .utf8) else { return "" }
        return text.split(separator: "\n").suffix(12).joined(separator: "\n")
    }

    /// The line of a log that says why.
    private static func complaint(in log: String) -> String {
        let lines = log.split(separator: "\n")
        let reason = lines.last { $0.contains("FATAL") || $0.contains("ERROR") || $0.contains("setpriv:") }
        return reason.map(String.init) ?? self.lastLine(of: log)
    }

    static func lastLine(of output: String) -> String {
        output.split(separator: "\n").last.map(String.init) ?? "it said nothing"
    }
}
