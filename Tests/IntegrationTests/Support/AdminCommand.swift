import FoundationEssentials
import Testing

@testable import cloacina_admin

/// The built command as an operator runs it, on the test's own database.
struct AdminCommand {
    struct Answer: Sendable {
        let status: Int32
        let output: String
        let notes: String
    }

    /// Where standard error goes, and whatever a test wants to keep.
    let directory: String

    /// Lends a command with a directory of its own, which is gone afterwards.
    static func with<R>(_ body: (AdminCommand) async throws -> R) async throws -> R {
        let directory = FileManager.default.temporaryDirectory.path + "/" + TestDatabase.uniqueName("cloacina")
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        return try await body(AdminCommand(directory: directory))
    }

    func run(_ arguments: String...) async throws -> Answer {
        let database = try #require(TestDatabase.current)
        var url = try #require(URLComponents(string: database.server.administratorURL))
        url.path = "/" + database.name
        var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("PG") }
        let text = try #require(url.string)
        environment[ConnectionOptions.environmentVariable] = text
        environment["NOTES"] = self.directory + "/notes"
        let answer = try await ChildProcess.run(
            ["/bin/sh", "-c", "exec \"$@\" 2>\"$NOTES\"", "sh", try AdminProgram.path()] + arguments,
            environment: environment, log: self.directory + "/output")
        let notes = try Data(contentsOf: URL(filePath: self.directory + "/notes"))
        return Answer(status: answer.status, output: answer.output, notes: String(decoding: notes, as: UTF8.self))
    }

    /// What a credentials file of this directory holds.
    func document(_ name: String) throws -> CredentialsDocument {
        try #require(try CredentialsFile.kept(CredentialsDocument.self, at: self.path(name)))
    }

    func path(_ name: String) -> String { "\(self.directory)/\(name)" }
}
