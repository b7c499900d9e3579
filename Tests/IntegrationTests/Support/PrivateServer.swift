import CloacinaPostgres
import FoundationEssentials
import Glibc
import Testing

@testable import cloacina_admin

/// A PostgreSQL server of one suite's own, for what the shared one must be spared: stops and settings.
struct PrivateServer: Sendable {
    @TaskLocal static var current: PrivateServer?

    /// How tests reach it: the same two roles as on the shared server.
    let access: TestServer
    /// Holds the server's files, and those that were made for it.
    let directory: String
    private let server: DevelopmentServer
    private let port: Int

    /// Where a server will live, for what must be there before it starts.
    struct Place: Sendable {
        /// A directory that the server's user can read.
        let directory: String
        fileprivate let account: ServerAccount

        /// Hands a file over to the server's user, and closes it to all others.
        func handOver(_ path: String) throws {
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
            try #require(unsafe chown(path, self.account.userID, self.account.groupID) == 0)
        }
    }

    /// Starts a server, lends it, and ends it without a trace.
    static func with<R>(
        settings: (Place) async throws -> [ServerSetting] = { _ in [] }, _ body: (PrivateServer) async throws -> R
    ) async throws -> R {
        let directory = FileManager.default.temporaryDirectory.path + "/" + TestDatabase.uniqueName("cloacina")
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: directory)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let place = Place(directory: directory, account: try ServerAccount.forServer())
        let binaries = try #require(TestServer.configured).binaries
        let server = try DevelopmentServer(
            directory: directory + "/server", binaries: binaries.isEmpty ? nil : binaries,
            settings: [ServerSetting("max_connections", "40"), ServerSetting("fsync", "off")]
                + (try await settings(place)))
        defer { try? FileManager.default.removeItem(atPath: server.directory) }
        do {
            let state = try await server.start()
            let access = TestServer(
                administratorURL: state.url, superuserURL: state.superuserUrl, directory: state.directory,
                binaries: state.postgresBin)
            let result = try await body(
                PrivateServer(access: access, directory: directory, server: server, port: state.port))
            await Self.end(server)
            return result
        } catch {
            await Self.end(server)
            throw error
        }
    }

    /// Stops the server in PostgreSQL's immediate mode, as a crash would: nobody is waited for, nothing is written.
    ///
    /// No process of it is left when this returns.
    func stopImmediately() async throws {
        try #require(self.server.running() != nil)
        await Self.end(self.server)
        #expect(self.server.running() == nil)
    }

    /// Starts it again, where it was; one that runs is left alone.
    func startAgain() async throws {
        let state = try await self.server.start()
        try #require(state.port == self.port, "somebody took the port while the server was down")
    }

    private static func end(_ server: DevelopmentServer) async {
        guard let running = server.running() else { return }
        kill(running.pid, SIGQUIT)
        // It is a child of this process, and the last of its own processes to end.
        while ChildProcess(processID: running.pid).exitStatus() == nil { await Task.yield() }
    }
}

/// Gives a suite a server of its own, as `PrivateServer.current`; it ends with the suite.
struct PrivateServerTrait: SuiteTrait, TestScoping {
    fileprivate let settings: @Sendable (PrivateServer.Place) async throws -> [ServerSetting]

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable @concurrent () async throws -> Void
    ) async throws {
        try await PrivateServer.with(settings: self.settings) { server in
            try await PrivateServer.$current.withValue(server, operation: function)
        }
    }
}

extension Trait where Self == PrivateServerTrait {
    /// A server with the defaults.
    static var privateServer: Self { Self(settings: { _ in [] }) }

    /// A server with settings, and files that go with them.
    static func privateServer(
        _ settings: @escaping @Sendable (PrivateServer.Place) async throws -> [ServerSetting]
    ) -> Self { Self(settings: settings) }
}
