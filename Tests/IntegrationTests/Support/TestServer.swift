import CloacinaPostgres
import FoundationEssentials
import Synchronization
import Testing

/// The PostgreSQL server that `admin/test` has started for the tests.
struct TestServer: Sendable {
    /// A role that may create roles and databases' schemas, and is no superuser.
    let administratorURL: String
    let superuserURL: String
    /// The private directory of the server, with its log.
    let directory: String
    /// Where the server's binaries are, for tests that start servers of their own.
    let binaries: String

    static let isRequired = ProcessInfo.processInfo.environment["CLOACINA_TEST_REQUIRE_SERVER"] == "1"

    /// The server in the environment, if there is one.
    static let configured: TestServer? = {
        let environment = ProcessInfo.processInfo.environment
        guard let administrator = environment["CLOACINA_TEST_DATABASE_URL"],
            let superuser = environment["CLOACINA_TEST_SUPERUSER_URL"]
        else { return nil }
        return TestServer(
            administratorURL: administrator, superuserURL: superuser,
            directory: environment["CLOACINA_TEST_SERVER_DIRECTORY"] ?? "",
            binaries: environment["CLOACINA_TEST_POSTGRES_BIN"] ?? "")
    }()

    var superuser: PostgresConfiguration { PostgresConfiguration(self.superuserURL) }
}

/// A database of a test's own, made before it and dropped after it.
struct TestDatabase: Sendable {
    @TaskLocal static var current: TestDatabase?

    let server: TestServer
    let name: String

    /// The administrator's way in: owner of the database, CREATEROLE, no superuser.
    var administrator: PostgresConfiguration {
        var configuration = PostgresConfiguration(self.server.administratorURL)
        configuration.database = self.name
        return configuration
    }

    var superuser: PostgresConfiguration {
        var configuration = self.server.superuser
        configuration.database = self.name
        return configuration
    }

    /// A name that no other test uses, for what is shared by the whole server: roles.
    static func uniqueName(_ prefix: String) -> String {
        "\(prefix)_\(UInt64.random(in: 0..<(1 << 40)))"
    }

    static func create(on server: TestServer) async throws -> TestDatabase {
        let name = Self.uniqueName("test")
        try await PostgresConnection.withConnection(server.superuser) { connection in
            let owner = try await PostgresConnection.withConnection(PostgresConfiguration(server.administratorURL)) {
                $0.endpoint.user
            }
            let sql = "CREATE DATABASE \(PostgresIdentifier.quote(name)) OWNER \(PostgresIdentifier.quote(owner))"
            try await connection.query(PostgresStatement(sql, prepared: false))
        }
        return TestDatabase(server: server, name: name)
    }

    func drop() async throws {
        try await PostgresConnection.withConnection(self.server.superuser) { connection in
            let sql = "DROP DATABASE \(PostgresIdentifier.quote(self.name)) WITH (FORCE)"
            try await connection.query(PostgresStatement(sql, prepared: false))
        }
    }

    /// Swift Testing starts every test at once; the server has connections for so many of them.
    private static let places = Places(12)

    /// Lends a database as ``current``, once there is a place for it on the server, and drops it.
    static func with(on server: TestServer, _ body: () async throws -> Void) async throws {
        await Self.places.enter()
        defer { Self.places.leave() }
        let database = try await Self.create(on: server)
        do {
            try await Self.$current.withValue(database) { try await body() }
            try await database.drop()
        } catch {
            try? await database.drop()
            throw error
        }
    }
}

/// Gives every test of a suite a database of its own, where the suite has not lent its tests one.
struct TestDatabaseTrait: SuiteTrait, TestTrait, TestScoping {
    var isRecursive: Bool { true }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable @concurrent () async throws -> Void
    ) async throws {
        guard testCase != nil, TestDatabase.current == nil else { return try await function() }
        guard let server = TestServer.configured else {
            Issue.record("no server: CLOACINA_TEST_DATABASE_URL is not set; use admin/test")
            return try await function()
        }
        try await TestDatabase.with(on: server, function)
    }
}

extension Trait where Self == TestDatabaseTrait {
    /// A database of the test's own, as `TestDatabase.current`.
    static var testDatabase: Self { Self() }
}

extension Trait where Self == ConditionTrait {
    /// Skips, with the reason, where no server is configured and none is required.
    static var needsServer: Self {
        .enabled(
            if: TestServer.configured != nil || TestServer.isRequired,
            "needs a PostgreSQL server; admin/test starts one")
    }
}

/// The parent of everything that needs a server.
@Suite(.needsServer, .testDatabase, .timeLimit(.minutes(40)))
enum ServerTests {}

/// Lets a number of tasks in at a time, in order of arrival.
final class Places: Sendable {
    private struct State {
        var free: Int
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Mutex<State>

    init(_ count: Int) { self.state = Mutex(State(free: count)) }

    func enter() async {
        await withCheckedContinuation { continuation in
            let isFree = self.state.withLock { state in
                guard state.free > 0 else {
                    state.waiting.append(continuation)
                    return false
                }
                state.free -= 1
                return true
            }
            if isFree { continuation.resume() }
        }
    }

    func leave() {
        let next = self.state.withLock { state -> CheckedContinuation<Void, Never>? in
            if state.waiting.isEmpty {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.resume()
    }
}
