import FoundationEssentials
import Glibc
import Testing

@testable import cloacina_admin

/// A database and the roles of its server, as `pg_dump` and `pg_dumpall` write them.
struct DatabaseDump: Sendable {
    /// The place of the dumps and of the programs' output.
    private let directory: String
    private let source: TestDatabase

    private static let programs = ["pg_dump", "pg_dumpall", "pg_restore", "psql"]

    /// True when the server of the tests came with the programs.
    static var isPossible: Bool {
        guard let binaries = TestServer.configured?.binaries, !binaries.isEmpty else { return false }
        return Self.programs.allSatisfy { program in unsafe access("\(binaries)/\(program)", X_OK) == 0 }
    }

    /// Dumps a database, and every role of its server with its password and memberships.
    init(of source: TestDatabase, into directory: String) async throws {
        self.source = source
        self.directory = directory
        let url = source.server.superuserURL
        try await self.run("pg_dumpall", "--globals-only", "--file", self.path("globals"), "--dbname", url)
        try await self.run(
            "pg_dump", "--format=custom", "--file", self.path("database"), "--dbname", try Self.url(url, source.name))
    }

    /// Restores the roles and then the database on another server; everything gets other OIDs there.
    ///
    /// The roles of the same names have the passwords that they had at home.
    func restore(on target: TestServer) async throws -> TestDatabase {
        // Roles of a fresh server would begin with the OIDs that those of the other one had.
        let numbers =
            "DO $$BEGIN FOR i IN 1..500 LOOP EXECUTE 'CREATE ROLE nobodys'; EXECUTE 'DROP ROLE nobodys'; END LOOP; END$$"
        try await self.run("psql", "--no-psqlrc", "--quiet", "--command", numbers, "--dbname", target.superuserURL)
        // It goes on after the roles that are there already, as everybody's does.
        try await self.run(
            "psql", "--no-psqlrc", "--quiet", "--file", self.path("globals"), "--dbname", target.superuserURL)
        let port = try #require(URLComponents(string: target.superuserURL)?.port)
        let server = TestServer(
            administratorURL: try Self.url(self.source.server.administratorURL, port: port),
            superuserURL: try Self.url(self.source.server.superuserURL, port: port), directory: target.directory,
            binaries: target.binaries)
        try await self.run(
            "pg_restore", "--create", "--exit-on-error", "--dbname", server.superuserURL, self.path("database"))
        return TestDatabase(server: server, name: self.source.name)
    }

    private func path(_ name: String) -> String { "\(self.directory)/\(name).dump" }

    private static func url(_ text: String, _ database: String? = nil, port: Int? = nil) throws -> String {
        var url = try #require(URLComponents(string: text))
        if let database { url.path = "/" + database }
        if let port { url.port = port }
        return try #require(url.string)
    }

    private func run(_ program: String, _ arguments: String...) async throws {
        let binaries = PostgresBinaries(directory: try #require(TestServer.configured).binaries)
        let answer = try await ChildProcess.run(
            ["\(binaries.directory)/\(program)"] + arguments,
            environment: ChildProcess.environment(
                for: binaries, inheriting: ProcessInfo.processInfo.environment),
            log: "\(self.directory)/\(program).log")
        try #require(answer.status == 0, "\(program): \(answer.output)")
    }
}
