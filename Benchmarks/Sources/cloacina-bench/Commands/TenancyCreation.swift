import CloacinaSchema
import CloacinaTenancy
import Foundation

/// Creating tenants from end to end, against one libpq connection that is given the same roles, tables, grants and files in as
/// many transactions.
struct TenancyCreation {
    let target: Target
    let count: Int
    let files: Int

    private static let warmUp = 5
    private static let replay = "libpq, statement by statement"
    private static let messages = "libpq, a message for each transaction"
    private static let ours = "createTenant"

    func run() async throws {
        for files in [0, self.files] {
            progress("creating \(self.count) tenants with \(files) files, in turns with libpq")
            let migrations = files > 0 ? try BenchMigrations(files, source: "bench") : nil
            let samples = try await TenancyDatabase.with(on: self.target) { try await self.measure($0, migrations) }
            let kind = files > 0 ? "files" : "plain"
            let settings = """
                one tenant each, with \(files) files of one statement; ours: with lease, registry, ledger and password, one \
                connection for all; baseline: the planned statements and each file with its history row, in as many \
                transactions, none of the registry's and the ledger's
                """
            try samples.figure(
                "tenancy.creation.\(kind)", ours: Self.ours, baseline: Self.replay, unit: "ms",
                notes: "target ≤ 1.2; \(settings)"
            ).print()
            try samples.figure(
                "tenancy.creation.\(kind).messages", ours: Self.ours, baseline: Self.messages, unit: "ms",
                notes: "no target: a round trip for each transaction only; \(settings)"
            ).print()
        }
    }

    private func measure(_ database: TenancyDatabase, _ migrations: BenchMigrations?) async throws -> Samples {
        let libpq = try BlockingConnection(database.target)
        try libpq.execute("SET client_min_messages TO error; SET search_path TO pg_catalog, pg_temp")
        var samples = Samples(rounds: self.count)
        let sides = [Self.ours, Self.replay, Self.messages]
        try await database.withAdmin { admin in
            for number in 0..<(self.count + Self.warmUp) {
                for place in sides.indices {
                    let side = sides[(place + number) % sides.count]
                    let name = database.tenant(number) + "_\(sides.firstIndex(of: side) ?? 0)"
                    let elapsed: Double
                    if side == Self.ours {
                        var config = TenantConfig(name: name)
                        config.migrationSets = migrations.map { [$0.set] } ?? []
                        elapsed = try await milliseconds { _ = try await admin.createTenant(config) }
                    } else {
                        let transactions = try await Self.plan(name, migrations, admin)
                        let texts =
                            side == Self.messages
                            ? transactions.map { $0.joined(separator: ";\n") } : Array(transactions.joined())
                        elapsed = try await milliseconds { for text in texts { try libpq.execute(text) } }
                    }
                    if number >= Self.warmUp { samples.add(elapsed, side) }
                }
            }
        }
        return samples
    }

    /// The statements that a creation is to send, transaction by transaction: roles and schema, each file, the password.
    private static func plan(
        _ name: String, _ migrations: BenchMigrations?, _ admin: DatabaseAdmin
    ) async throws -> [[String]] {
        let plan = try await admin.plannedSQL(creating: TenantConfig(name: name))
            .map { $0.replacing("********", with: Self.verifier) }
        guard plan.first == "BEGIN", plan.dropLast().last == "COMMIT", let password = plan.last else {
            throw WrongAnswer()
        }
        let files = migrations?.transactions(schema: name, owner: "\(name)_owner") ?? []
        return [Array(plan.dropLast())] + files + [[password]]
    }

    /// A verifier as good as any: PostgreSQL checks its form only.
    private static let verifier =
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
}
