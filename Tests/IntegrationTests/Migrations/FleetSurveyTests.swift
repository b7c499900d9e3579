import CloacinaPostgres
import CloacinaSchema
import Testing

@testable import CloacinaTenancy

extension ServerTests {
    /// The histories of very many tenants, which two sessions read.
    @Suite(.timeLimit(.minutes(40))) struct FleetSurveyTests {
        @Test("Two sessions find what one does, of a tenant too whose history can't be read")
        func twoSessionsFindTheSame() async throws {
            let names = (0..<5).map { _ in TenantFixture.name() }.sorted()
            try await TenantFixture.withAdmin { admin in
                let sets = try TenantFixture.sets()
                for (number, name) in names.enumerated() {
                    _ = try await admin.createTenant(
                        TenantFixture.config(name, sets: number.isMultiple(of: 2) ? sets : []))
                }
                try await TenantFixture.withSuperuser {
                    try await $0.script(
                        "ALTER TABLE \(PostgresIdentifier.quote(names[4])).cloacina_migrations ALTER title TYPE text")
                }
                let connector = admin.connector
                let surveys = try await admin.withBackend { connection in
                    var surveys: [FleetSurvey] = []
                    for many in [2, 1_000] {
                        surveys.append(
                            try await FleetSurvey(
                                tenant: nil, sets: sets, planner: MigrationPlanner(), on: connection,
                                connect: connector,
                                manyHistories: many))
                    }
                    return surveys
                }
                #expect(surveys[0].entries.map(\.tenant.name) == names)
                #expect(surveys[0].entries.map(\.history) == surveys[1].entries.map(\.history))
                #expect(surveys[0].entries.map(\.hasPending) == [false, true, false, true, false])
                if case .unreadable = surveys[0].entries[4].history {} else { Issue.record("it was read") }
                for name in names { try await admin.removeTenant(named: name) }
            }
        }
    }
}
