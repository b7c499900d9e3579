import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import Cloacina

extension ServerTests {
    /// Two processes serve a queue; one is killed, really, at a point between two of its writes. Afterwards the database must
    /// show that nothing was lost and no attempt's effect is there twice.
    @Suite(.timeLimit(.minutes(20))) struct CrashTests {
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

        private func enqueue(_ count: Int, _ label: PostgresLabel) async throws -> [UUID] {
            let configuration = PostgresPoolConfiguration(try #require(TestDatabase.current).superuser)
            return try await PostgresPool.withPool(configuration) { pool in
                let stub = try Workflow("crash") { WorkflowTask("stub") { _ in } }
                let runner = try DefaultRunner(pool: pool, label: label, workflows: [stub])
                var ids: [UUID] = []
                for _ in 0..<count { ids.append(try await runner.enqueue("crash")) }
                return ids
            }
        }
    }
}
