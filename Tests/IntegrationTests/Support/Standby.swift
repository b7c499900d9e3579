import CloacinaPostgres
import FoundationEssentials
import Glibc
import Testing

@testable import cloacina_admin

/// A standby of a private server, that may be promoted.
struct Standby: Sendable {
    /// A superuser's way in.
    let superuser: PostgresConfiguration
    let port: Int
    /// The port of the server it was made from.
    let primaryPort: Int

    /// False where the server's programs came without the one that copies a server.
    static var isPossible: Bool {
        guard let program = try? self.binaries().directory + "/pg_basebackup" else { return false }
        return unsafe access(program, X_OK) == 0
    }

    /// Copies a server as it is now, lends the copy while it follows the server, and ends it without a trace.
    static func with<R>(of primary: PrivateServer, _ body: (Standby) async throws -> R) async throws -> R {
        let account = try ServerAccount.forServer()
        let directory = primary.directory + "/" + TestDatabase.uniqueName("standby")
        let (data, log) = (directory + "/data", directory + "/server.log")
        for path in [directory, data] {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
            try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: path)
            try #require(unsafe chown(path, account.userID, account.groupID) == 0)
        }
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let binaries = try Self.binaries()
        let environment = ChildProcess.environment(
            for: binaries, inheriting: ProcessInfo.processInfo.environment)
        let url = primary.access.superuserURL
        let answer = try await ChildProcess.run(
            account.command(
                binaries.directory + "/pg_basebackup", ["-d", url, "-D", data, "-R", "-X", "stream", "-c", "fast"]),
            environment: environment, log: directory + "/copy.log")
        try #require(answer.status == 0, "\(answer.output)")
        let primaryPort = try await PostgresConnection.withConnection(primary.access.superuser) { $0.endpoint.port }
        let port = try LocalPort.free(preferring: nil)
        // What is on the command line of the first one is in no file.
        let settings = [
            "port=\(port)", "listen_addresses=127.0.0.1", "unix_socket_directories=\(directory)", "max_connections=200",
        ]
        let output = unsafe open(log, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        try #require(output >= 0)
        defer { close(output) }
        let process = try ChildProcess.start(
            account.command(binaries.postgres, ["-D", data] + settings.flatMap { ["-c", $0] }),
            environment: environment, output: output)
        let standby = Standby(
            superuser: PostgresConfiguration(url.replacing(":\(primaryPort)/", with: ":\(port)/")), port: port,
            primaryPort: primaryPort)
        let result: Result<R, any Error>
        do {
            while await (try? PostgresConnection.withConnection(standby.superuser, { _ in })) == nil {
                let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
                try #require(process.exitStatus() == nil, "\(text)")
                await Task.yield()
            }
            result = .success(try await body(standby))
        } catch {
            result = .failure(error)
        }
        kill(process.processID, SIGQUIT)
        while process.exitStatus() == nil { await Task.yield() }
        return try result.get()
    }

    /// Makes it a server of its own; returns when it can be written to.
    func promote() async throws {
        try await PostgresConnection.withConnection(self.superuser) { connection in
            try #require(try await connection.query("SELECT pg_promote()").single(as: Bool.self))
        }
    }

    private static func binaries() throws -> PostgresBinaries {
        let asked = try #require(TestServer.configured).binaries
        return try PostgresBinaries.find(
            asked: asked.isEmpty ? nil : asked, preferring: nil,
            path: ProcessInfo.processInfo.environment["PATH"] ?? "")
    }
}
