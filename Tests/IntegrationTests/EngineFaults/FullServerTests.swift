import CloacinaPostgres
import FoundationEssentials
import Testing

@testable import Cloacina
@testable import cloacina_admin

extension ServerTests {
    /// A server whose every connection somebody else has taken, down to what it keeps for superusers.
    @Suite(
        .serialized, .privateServer { _ in [ServerSetting("max_connections", "330")] }, .timeLimit(.minutes(40)))
    struct FullServerTests {
        /// Takes every connection there is, for as long as a closure runs or until it has them leave.
        private func withIdlers<R>(
            atLeast count: Int, _ body: (_ leave: () async -> Void) async throws -> R
        ) async throws -> R {
            try await TenantFixture.withSuperuser { superuser in
                let idlers = try await self.fill(superuser)
                #expect(idlers.count >= count)
                let leave = { for idler in idlers { await idler.close() } }
                do {
                    let result = try await body(leave)
                    await leave()
                    return result
                } catch {
                    await leave()
                    throw error
                }
            }
        }

        /// Connects until the server refuses three times: somebody who was leaving may have made room after the first.
        private func fill(_ superuser: PostgresConnection) async throws -> [PostgresConnection] {
            let configuration = try #require(TestDatabase.current).administrator
            var idlers: [PostgresConnection] = []
            var refusals = 0
            while refusals < 3 {
                do throws(PostgresError) {
                    idlers.append(try await PostgresConnection.connect(configuration))
                    refusals = 0
                } catch {
                    guard error.sqlState == "53300" else { throw error }
                    refusals += 1
                    _ = try await superuser.query("SELECT 1")
                }
            }
            return idlers
        }

        @Test func aRunnerThatHasItsConnectionsWorksOnAFullServer() async throws {
            try await withPrivateDatabase { _ in
                try await EngineFixture.with { fixture in
                    let log = AttemptLog()
                    let runner = try fixture.runner(EngineFixture.chain(log))
                    try await self.openAll(4, of: fixture)
                    try await self.withIdlers(atLeast: 300) { _ in
                        let ids = try await fixture.enqueue(100, "chain", by: runner)
                        // Whoever looks on has a superuser's place.
                        try await fixture.serving(runner) {
                            try await PipelineAudit.waitForEnds(100, in: fixture.schema)
                        }
                        try await PipelineAudit.check(ids, in: fixture.schema, tasks: 3)
                        try await PipelineAudit.check(log, in: fixture.schema)
                    }
                    // The one beside the budget can't be had, and isn't needed.
                    #expect(fixture.pool.statistics.opened == 4)
                }
            }
        }

        @Test func aRunnerThatGetsNoConnectionWaitsAndWorksWhenTheOthersLeave() async throws {
            try await withPrivateDatabase { _ in
                try await EngineFixture.with { fixture in
                    let log = AttemptLog()
                    let runner = try fixture.runner(EngineFixture.chain(log))
                    let ids = try await self.withIdlers(atLeast: 300) { leave in
                        try await fixture.serving(runner) {
                            async let queued = fixture.enqueue(100, "chain", by: runner)
                            async let direct = runner.execute("chain").id
                            while fixture.pool.statistics.failedToOpen < 10 { await Task.yield() }
                            #expect(fixture.pool.statistics.opened == 0)
                            await leave()
                            let ids = try await queued + [direct]
                            try await PipelineAudit.waitForEnds(101, in: fixture.schema)
                            return ids
                        }
                    }
                    try await PipelineAudit.check(ids, in: fixture.schema, tasks: 3)
                    try await PipelineAudit.check(log, in: fixture.schema)
                }
            }
        }

        @Test func aRunnerWithoutPatienceSaysWhatIsWrongAndLeavesNothingBehind() async throws {
            try await withPrivateDatabase { _ in
                try await EngineFixture.with { fixture in
                    let log = AttemptLog()
                    var configuration = EngineFixture.configuration
                    configuration.databasePatience = .zero
                    let runner = try fixture.runner(EngineFixture.chain(log), configuration: configuration)
                    try await self.withIdlers(atLeast: 300) { leave in
                        let calls: [() async throws -> Void] = [
                            { _ = try await runner.execute("chain") }, { _ = try await runner.enqueue("chain") },
                            { _ = try await runner.list() }, { try await runner.cancel(UUID()) },
                        ]
                        for call in calls {
                            let error = await #expect(throws: PipelineError.self) { try await call() }
                            #expect(error?.code == .storageFailed)
                            let cause = error?.underlying as? PostgresError
                            #expect(cause?.code == .connectionFailed)
                            #expect(cause?.sqlState == "53300")
                        }
                        await leave()
                    }
                    let id = try await runner.execute("chain").id
                    try await PipelineAudit.check([id], in: fixture.schema, tasks: 3)
                    try await PipelineAudit.check(log, in: fixture.schema)
                }
            }
        }

        /// Has the pool hold so many connections, all at the same time.
        private func openAll(_ count: Int, of fixture: EngineFixture) async throws {
            let gate = Gate()
            try await withThrowingTaskGroup { group in
                for _ in 0..<count {
                    group.addTask {
                        try await fixture.pool.withConnection(fixture.label) { lease in
                            try await lease.query("SELECT 1")
                            if fixture.pool.statistics.leased == count { gate.open() }
                            await gate.wait()
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }
}
