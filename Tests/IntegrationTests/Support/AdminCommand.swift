import FoundationEssentials
import Testing

@testable import cloacina_admin

/// The built command as an operator runs it, on the test's own database and without a terminal.
struct AdminCommand: Sendable {
    struct Answer {
        let status: Int32
        let output: String
        let notes: String

        func decoded<Value: Decodable>(_ type: Value.Type = Value.self) throws -> Value {
            try JSONDecoder().decode(type, from: Data(self.output.utf8))
        }
    }

    /// Where it writes.
    let directory: String
    /// Another login than the administrator's, whose password is its name.
    var login: String?

    /// The file in which the process id of the command stands before it does anything.
    var process: String { self.directory + "/process" }

    /// Lends a command whose directory is gone afterwards.
    static func with<R>(_ body: (AdminCommand) async throws -> R) async throws -> R {
        let directory = FileManager.default.temporaryDirectory.path + "/" + TestDatabase.uniqueName("command")
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        return try await body(AdminCommand(directory: directory))
    }

    /// The administrator's URL of the test's own database.
    func url() throws -> URLComponents {
        let database = try #require(TestDatabase.current)
        var url = try #require(URLComponents(string: database.server.administratorURL))
        url.path = "/" + database.name
        if let login = self.login {
            url.user = login
            url.password = login
        }
        return url
    }

    /// Runs the command with standard error apart from standard output.
    ///
    /// - Parameter variables: what the environment says beside, or instead of, the URL.
    func run(
        _ arguments: [String], variables: [String: String?] = [:], input: String? = nil
    ) async throws -> Answer {
        var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("PG") }
        let url = try self.url()
        environment[ConnectionOptions.environmentVariable] = url.string
        environment["NOTES"] = self.directory + "/notes"
        environment["PROCESS"] = self.process
        for (name, value) in variables { environment[name] = value }
        let answer = try await ChildProcess.run(
            ["/bin/sh", "-c", "echo $$ >\"$PROCESS\"; exec \"$@\" 2>\"$NOTES\"", "sh", try AdminProgram.path()]
                + arguments,
            environment: environment, input: input, log: self.directory + "/output")
        let notes = try Data(contentsOf: URL(filePath: self.directory + "/notes"))
        return Answer(status: answer.status, output: answer.output, notes: String(decoding: notes, as: UTF8.self))
    }

    func run(_ arguments: String...) async throws -> Answer { try await self.run(arguments) }

    /// What a credentials file of this directory holds.
    func document(_ name: String) throws -> CredentialsDocument {
        try #require(try CredentialsFile.kept(CredentialsDocument.self, at: self.path(name)))
    }

    func path(_ name: String) -> String { "\(self.directory)/\(name)" }
}
