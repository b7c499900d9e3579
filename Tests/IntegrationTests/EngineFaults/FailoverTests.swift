import CloacinaPostgres
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// A primary that is demoted while its sessions stay open, and what listens there.
    @Suite(.serialized, .privateServer, .timeLimit(.minutes(40))) struct FailoverTests {
        private static let name = "the group of a failover"

        /// Calls alone, no sweep, have a queue looked at.
        private static var configuration: RunnerConfiguration {
            var configuration = RunnerConfiguration()
            configuration.sweepInterval = .seconds(3_600)
            return configuration
        }

        private static func workflow() throws -> Workflow { try Workflow("w") { WorkflowTask("t") { _ in } } }

        /// Serves by a group that often asks its listener's server what it is, as long as a closure runs.
        private static func listening(
            _ runner: DefaultRunner, on connection: PostgresConfiguration, _ body: () async throws -> Void
        ) async throws {
            var connection = connection
            connection.applicationName = Self.name
            let group = RunnerGroup(
                [runner], listeningOn: connection, drain: .zero, listenerCheck: .milliseconds(20))
            let serving = Task { try await group.run() }
            let result: Result<Void, any Error>
            do { result = .success(try await body()) } catch { result = .failure(error) }
            serving.cancel()
            _ = await serving.result
            try result.get()
        }

        /// Waits until a server has a listener, other than the one of a process, and returns its process.
        private static func listener(
            on server: PostgresConfiguration, not pid: Int32 = 0
        ) async throws -> Int32 {
            try await PostgresConnection.withConnection(server) { connection in
                while true {
                    let found: Int32? = try await connection.query(
                        """
                        SELECT max(pid) AS pid FROM pg_stat_activity WHERE application_name = \(Self.name) AND pid <> \(pid)
                            AND state = 'idle' AND (query LIKE 'LISTEN %' OR query LIKE '%pg_is_in_recovery%')
                        """
                    ).single()
                    if let found { return found }
                    await Task.yield()
                }
            }
        }

        /// Has a server refuse writes, or take them again, and waits until those who come see that.
        private static func demote(_ isDemoted: Bool, _ server: PostgresConfiguration) async throws {
            let value = isDemoted ? "on" : "off"
            try await PostgresConnection.withConnection(server) { superuser in
                try await superuser.script("SET default_transaction_read_only = off")
                for sql in ["ALTER SYSTEM SET default_transaction_read_only = \(value)", "SELECT pg_reload_conf()"] {
                    try await superuser.query(PostgresStatement(sql, prepared: false))
                }
            }
            while try await PostgresConnection.withConnection(server, { try await $0.isWritable() }) == isDemoted {
                await Task.yield()
            }
        }

        /// Nothing is sent there that would tell.
        @Test func aListenerLeavesAServerThatHasTurnedReadOnly() async throws {
            try await withPrivateDatabase { server in
                try await EngineFixture.with { fixture in
                    let superuser = server.access.superuser
                    let runner = try fixture.runner(Self.workflow(), configuration: Self.configuration)
                    let sender = try fixture.runner(Self.workflow())
                    try await Self.listening(runner, on: fixture.connection) {
                        let first = try await Self.listener(on: superuser)
                        #expect(try await sender.result(of: sender.enqueue("w").id).status == .completed)
                        try await Self.demote(true, superuser)
                        try await PostgresConnection.withConnection(superuser) { connection in
                            try await connection.waitUntil(
                                "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = \(first))")
                        }
                        try await Self.demote(false, superuser)
                        _ = try await Self.listener(on: superuser, not: first)
                        #expect(try await sender.result(of: sender.enqueue("w").id).status == .completed)
                    }
                    await sender.shutDown(drain: .zero)
                }
            }
        }

        /// The first one goes on answering, as a primary does that a cluster manager has fenced; its standby takes over.
        @Test(.enabled("needs pg_basebackup") { Standby.isPossible })
        func callsAndWritesGoToTheStandbyThatWasPromoted() async throws {
            try await withPrivateDatabase { server in
                try await EngineFixture.with { fixture in
                    try await Standby.with(of: server) { standby in
                        var both = PostgresConfiguration(
                            "host=127.0.0.1,127.0.0.1 port=\(standby.primaryPort),\(standby.port) "
                                + "target_session_attrs=read-write")
                        both.user = fixture.login
                        both.password = fixture.login
                        both.database = try #require(TestDatabase.current).name
                        let workflow = try Self.workflow()
                        try await PostgresPool.withPool(PostgresPoolConfiguration(both)) { [both] pool in
                            let runner = try DefaultRunner(
                                pool: pool, label: fixture.label, workflows: [workflow],
                                configuration: Self.configuration)
                            let sender = try DefaultRunner(pool: pool, label: fixture.label, workflows: [workflow])
                            try await Self.listening(runner, on: both) {
                                _ = try await Self.listener(on: server.access.superuser)
                                #expect(try await sender.result(of: sender.enqueue("w").id).status == .completed)
                                try await Self.demote(true, server.access.superuser)
                                try await standby.promote()
                                // Nobody has called or written anything since.
                                _ = try await Self.listener(on: standby.superuser)
                                let id = try await sender.enqueue("w").id
                                #expect(try await sender.result(of: id).status == .completed)
                                try await Self.demote(false, server.access.superuser)
                                #expect(try await fixture.store.load(id) == nil)
                            }
                            await sender.shutDown(drain: .zero)
                        }
                    }
                }
            }
        }
    }
}
