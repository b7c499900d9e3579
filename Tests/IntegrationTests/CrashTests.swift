import CloacinaPostgres
import CloacinaTenancy
import Foundation
import TestSupport
import Testing

@testable import Cloacina
@testable import crash_process

extension ServerTests {
    /// Two processes serve a queue; one is killed, really, at a point between two of its writes. Afterwards the database must
    /// show that nothing was lost and no attempt's effect is there twice.
    @Suite(.timeLimit(.minutes(40))) struct CrashTests {
        @Test(arguments: 0..<24) func aProcessThatIsKilledLosesNothingAndRepeatsNoAttempt(point: Int) async throws {
            try await TenantFixture.withAdmin { admin in
                let name = TenantFixture.name()
                _ = try await admin.createTenant(TenantConfig(name: name))
                let label = try await admin.tenant(named: name).label(.role)
                try await CrashProcessRun.prepare(label)
                var ids = try await self.enqueue(6, label)
                async let victim = CrashProcessRun.serve(label, point: point, named: "victim")
                async let survivor = CrashProcessRun.serve(label, point: -1, named: "survivor")
                var (died, survived) = try await (victim, survivor)
                if died.status == 0 {
                    // The other was faster, and left it too little to do: once more, one after the other.
                    ids += try await self.enqueue(6, label)
                    died = try await CrashProcessRun.serve(label, point: point, named: "victim")
                    survived = try await CrashProcessRun.serve(label, point: -1, named: "survivor")
                }
                // A process of which nothing is left but its signal.
                try #require([9, 137].contains(died.status), "\(died)")
                try #require(survived.status == 0, "\(survived)")
                try await PipelineAudit.check(ids, in: label.schema, tasks: 5)
                try await CrashProcessRun.check(ids, label)
            }
        }

        /// Writes that need something to write about, each of which a process comes to that has it.
        private static let points: [DeathPoint] = [
            (DeathPoint.Call.prune, 0), (.ask, 0), (.ask, 1), (.ask, 2), (.beat, 0), (.beat, 1), (.recover, 0),
            (.leave, 0),
        ].flatMap { call, number in DeathPoint.Moment.allCases.map { .call(call, number, $0) } }

        /// Beside it is a runner that has a pipeline of which the process wants something.
        @Test(arguments: Self.points) func whateverElseAProcessDoesWhenItIsKilledIsDoneOrWasNever(
            point: DeathPoint
        ) async throws {
            try await EngineFixture.with { fixture in
                let (begun, mayEnd, ghost) = (Tally(), Tally(), UUID.version7())
                try await VictimProcess.prepare(fixture.label)
                let survivor = try self.survivor(fixture, begun, mayEnd)
                let old = Set([try await survivor.execute("old").id, try await survivor.execute("old").id])
                var known = [try await self.leave(by: ghost, fixture.store)]
                for _ in 0..<3 { known.append(try await survivor.enqueue("crash").id) }
                let execution = try await survivor.executeAsync("held")
                await begun.reached(1)
                let victim = try VictimProcess(
                    .writing(point, asking: execution.id, ghost: ghost), fixture.label)
                await victim.expectDeath()
                let asked = try await fixture.store.load(execution.id)?.request
                #expect(asked == Self.asked(at: point))
                mayEnd.add()
                _ = await execution.waitHere()
                if asked == .pause {
                    #expect(try await survivor.status(of: execution.id) == .paused)
                    try await survivor.resume(execution.id)
                }
                try await self.takeOver(survivor)
                let found = try await survivor.list(PipelineQuery(limit: 1_000))
                var ends = Dictionary(uniqueKeysWithValues: found.map { ($0.id, PipelineStatus.completed) })
                if asked == .cancel { ends[execution.id] = .cancelled }
                try await PipelineAudit.check(ends, in: fixture.schema, tasks: 5)
                // They were deleted together, or not at all.
                #expect([0, 2].contains(found.count { old.contains($0.id) }))
                let crashed = found.filter { $0.workflow == "crash" }.map(\.id)
                let accepted = try await VictimProcess.accepted(fixture.label) + known
                #expect(Set(crashed).isSuperset(of: accepted) && crashed.count <= accepted.count + 1)
                try await CrashProcessRun.check(crashed, fixture.label)
            }
        }

        /// A runner for which everybody is dead that it sees twice with the same number, and that hears what it is asked with its
        /// writes only.
        private func survivor(_ fixture: EngineFixture, _ begun: Tally, _ mayEnd: Tally) throws -> DefaultRunner {
            var configuration = EngineFixture.configuration
            configuration.heartbeatInterval = .seconds(60)
            configuration.leaseDuration = .nanoseconds(1)
            return try fixture.runner(
                CrashProcess.workflow(),
                Self.chain("held") {
                    begun.add()
                    await mayEnd.reached(1)
                }, Self.chain("old") {}, configuration: configuration)
        }

        /// As many tasks as the others have, in a row; the first one does something.
        private static func chain(_ name: String, _ first: @escaping @Sendable () async -> Void) throws -> Workflow {
            let tasks = (1...5).map { number in
                WorkflowTask("\(number)", dependencies: number > 1 ? ["\(number - 1)"] : []) { _, scope in
                    if number == 1 { await first() }
                    try await CrashProcess.leaveTrace(scope)
                }
            }
            return try Workflow(name, tasks: tasks)
        }

        /// A pipeline of a runner that has died of something else.
        private func leave(by ghost: UUID, _ store: PostgresWorkflowStore) async throws -> UUID {
            let workflow = try CrashProcess.workflow()
            let new = NewPipeline(
                id: .version7(at: Date()), workflow: workflow.name, version: workflow.contentVersion.hex,
                input: Context(), owner: ghost, at: Date())
            _ = try await store.create([new])
            _ = try await store.beat(ghost, number: 7, pipelines: [], at: Date())
            return new.id
        }

        /// What is stored for the pipeline's runner when the process died at a point.
        private static func asked(at point: DeathPoint) -> PipelineRequest? {
            switch point {
            case .call(.prune, _, _), .call(.ask, 0, .before): nil
            case .call(.ask, let number, let moment):
                [PipelineRequest.pause, .resume, .cancel][moment == .before ? number - 1 : number]
            default: .cancel
            }
        }

        /// Takes what the others have left, and runs it to its end; after that nobody is waited for any more.
        private func takeOver(_ runner: DefaultRunner) async throws {
            let open = PipelineQuery(statuses: [.queued, .running])
            while true {
                let others = try await runner.store.beats(everyOwner: true).keys.filter { $0 != runner.id }
                if others.isEmpty, try await runner.list(open).isEmpty { return }
                await runner.serveOnce()
            }
        }

        private func enqueue(_ count: Int, _ label: PostgresLabel) async throws -> [UUID] {
            let configuration = PostgresPoolConfiguration(try #require(TestDatabase.current).superuser)
            return try await PostgresPool.withPool(configuration) { pool in
                let stub = try Workflow("crash") { WorkflowTask("stub") { _ in } }
                let runner = try DefaultRunner(pool: pool, label: label, workflows: [stub])
                var ids: [UUID] = []
                for _ in 0..<count { ids.append(try await runner.enqueue("crash").id) }
                return ids
            }
        }
    }
}
