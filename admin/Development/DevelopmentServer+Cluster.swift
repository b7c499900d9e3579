import FoundationEssentials
import Glibc

extension DevelopmentServer {
    /// Binaries that the server's user can run, and their version.
    struct Installation {
        let binaries: PostgresBinaries
        let version: String
        let majorVersion: Int
    }

    func installation() async throws -> Installation {
        let holds = (try? String(contentsOfFile: self.layout.data + "/PG_VERSION", encoding: .utf8))
            .flatMap(PostgresBinaries.majorVersion)
        let all = ProcessInfo.processInfo.environment
        let binaries = try PostgresBinaries.find(asked: self.binaries, preferring: holds, path: all["PATH"] ?? "")
        let answer = try await self.run(binaries, binaries.postgres, ["--version"])
        guard answer.status == 0, let version = PostgresBinaries.version(in: answer.output),
            let majorVersion = PostgresBinaries.majorVersion(of: version)
        else {
            let user = self.account.isOurselves ? "" : " as user \(self.account.name)"
            throw CommandError(
                .failed, "\(binaries.postgres) can't be run\(user): \(Self.lastLine(of: answer.output))")
        }
        guard holds == nil || holds == majorVersion else {
            throw CommandError(
                .failed, "\(self.layout.home) holds a PostgreSQL \(holds ?? 0), the programs are \(version)",
                hint: "choose other programs by --postgres-bin or another --directory")
        }
        return Installation(binaries: binaries, version: version, majorVersion: majorVersion)
    }

    func run(
        _ binaries: PostgresBinaries, _ executable: String, _ arguments: [String], input: String? = nil
    ) async throws -> (status: Int32, output: String) {
        try await ChildProcess.run(
            self.account.command(executable, arguments),
            environment: ChildProcess.environment(
                for: binaries, inheriting: ProcessInfo.processInfo.environment),
            input: input, log: self.layout.setupLog)
    }

    /// Makes the cluster unless there is one, and returns the passwords it has.
    func prepareCluster(_ installation: Installation) async throws -> ServerSecrets {
        if FileFacts(self.layout.data + "/PG_VERSION") == nil {
            let secrets = try ServerSecrets.make()
            try await self.makeCluster(installation, secrets)
            return secrets
        }
        self.removeLeftovers()
        if let secrets = self.savedState().flatMap(ServerSecrets.init) { return secrets }
        self.report(
            "the state file was lost; both roles get new passwords, and settings of earlier starts count no more")
        let secrets = try ServerSecrets.make()
        try await self.runScript(secrets, isNew: false, in: self.layout.data, installation)
        return secrets
    }

    /// Everything happens beside the final place, so that a cluster is either whole or not there.
    func makeCluster(_ installation: Installation, _ secrets: ServerSecrets) async throws {
        let unfinished = self.layout.unfinishedData
        try? FileManager.default.removeItem(atPath: unfinished)
        try self.makeDirectory(unfinished, mode: 0o700)
        let locale = unsafe newlocale(1 << LC_CTYPE, "C.UTF-8", nil)
        defer { if let locale = unsafe locale { unsafe freelocale(locale) } }
        let localeName = unsafe locale == nil ? "C" : "C.UTF-8"
        let passwordFile = self.layout.home + "/password"
        unsafe unlink(passwordFile)
        try PrivateFile.create(passwordFile, holding: Array("\(secrets.superuser)\n".utf8), for: self.account)
        defer { unsafe unlink(passwordFile) }
        let answer = try await self.run(
            installation.binaries, installation.binaries.initdb,
            [
                "-D", unfinished, "-U", ServerSecrets.superuserRole, "--auth=scram-sha-256",
                "--pwfile=\(passwordFile)", "--encoding=UTF8", "--locale=\(localeName)",
            ])
        guard answer.status == 0 else {
            throw CommandError(.failed, "initdb failed: \(Self.lastLine(of: answer.output))")
        }
        try await self.runScript(secrets, isNew: true, in: unfinished, installation)
        guard unsafe rename(unfinished, self.layout.data) == 0 else {
            throw CommandError.system("can't move the new cluster to \(self.layout.data)", errno)
        }
    }

    /// Runs the statements of ``ServerSecrets/script(majorVersion:isNew:)`` before anybody can connect.
    func runScript(
        _ secrets: ServerSecrets, isNew: Bool, in data: String, _ installation: Installation
    ) async throws {
        let answer = try await self.run(
            installation.binaries, installation.binaries.postgres,
            [
                "--single", "-D", data, "-c", "exit_on_error=true", "-c", "log_min_error_statement=panic",
                "-c", "log_statement=none", "-c", "logging_collector=off", "template1",
            ],
            input: secrets.script(majorVersion: installation.majorVersion, isNew: isNew))
        guard answer.status == 0 else {
            throw CommandError(
                .failed, "the administrator's role could not be made: \(Self.lastLine(of: answer.output))")
        }
    }

    /// Removes what a killed server left where it would keep the next one from starting: its number may belong to
    /// another program after a reboot, or to a corpse nobody collects. Where nobody has that number, PostgreSQL sorts
    /// its own file out itself; what guards the data against surviving backends is its shared memory, not this file.
    func removeLeftovers() {
        let path = self.layout.data + "/postmaster.pid"
        if let file = (try? String(contentsOfFile: path, encoding: .utf8)).flatMap(PostmasterFile.init),
            ProcessFacts(processID: file.pid) != nil
        {
            self.report("removing the lock file of process \(file.pid), which is not this server (any more)")
            unsafe unlink(path)
        }
        let sockets = (try? FileManager.default.contentsOfDirectory(atPath: self.layout.socketDirectory)) ?? []
        for name in sockets where name.hasPrefix(".s.PGSQL.") {
            unsafe unlink(self.layout.socketDirectory + "/" + name)
        }
    }
}
