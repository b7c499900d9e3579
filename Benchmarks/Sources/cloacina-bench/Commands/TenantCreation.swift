import CloacinaPostgres
import CloacinaTenancy
import Foundation

/// Creating tenants end to end, against one psql that is given the same DDL, roles and grants.
struct TenantCreation {
    let target: Target
    let count: Int

    func run() async throws {
        progress("creating \(self.count) tenants, in turns with psql")
        let stem = "bench\(UInt32.random(in: .min ... .max))"
        try await PostgresConnection.withConnection(self.target.configuration) { server in
            try await server.query(PostgresStatement("CREATE DATABASE \(stem)", prepared: false))
            let result = await self.measure(in: stem)
            try await server.query(PostgresStatement("DROP DATABASE \(stem) WITH (FORCE)", prepared: false))
            let roles: [String] = try await server.query(
                "SELECT rolname::text AS r FROM pg_roles WHERE rolname LIKE \(stem + "%")"
            )
            .column("r")
            for role in roles {
                try await server.query(
                    PostgresStatement("DROP ROLE \(PostgresIdentifier.quote(role))", prepared: false))
            }
            try result.get()
        }
    }

    private func measure(in database: String) async -> Result<Void, any Error> {
        var configuration = self.target.configuration
        configuration.database = database
        let admin = DatabaseAdmin(configuration)
        do {
            try await self.measure(admin, database)
            await admin.close()
            return .success(())
        } catch {
            await admin.close()
            return .failure(error)
        }
    }

    private func measure(_ admin: DatabaseAdmin, _ stem: String) async throws {
        var options = BootstrapOptions()
        options.serviceRole = "\(stem)_service"
        options.tenantsRole = "\(stem)_tenants"
        _ = try await admin.bootstrap(options)
        let psql = try PsqlSession(target: self.target, database: stem)
        defer { psql.end() }
        var ours: [Double] = []
        var baseline: [Double] = []
        for number in 0..<(self.count + 5) {
            let plan = try await admin.plannedSQL(creating: TenantConfig(name: "\(stem)_p\(number)"))
            let sql = plan.map { $0.replacing("********", with: Self.verifier) + ";\n" }.joined()
            func create() async throws {
                let start = ContinuousClock.now
                _ = try await admin.createTenant(TenantConfig(name: "\(stem)_o\(number)"))
                if number >= 5 { ours.append(start.duration(to: .now).microseconds / 1000) }
            }
            func replay() throws {
                let start = ContinuousClock.now
                try psql.run(sql)
                if number >= 5 { baseline.append(start.duration(to: .now).microseconds / 1000) }
            }
            if number.isMultiple(of: 2) {
                try await create()
                try replay()
            } else {
                try replay()
                try await create()
            }
        }
        try Figure(
            name: "tenants.creation", ours: ours.median, baseline: baseline.median, unit: "ms",
            notes: String(
                format:
                    "median of %d in turns; ours %.1f–%.1f, psql %.1f–%.1f; ours: createTenant with registry, ledger "
                    + "and password, one connection for all; baseline: the same roles, schema, grants and migrations in "
                    + "one transaction of one psql; target ≤ 1.5",
                self.count, ours.min() ?? 0, ours.max() ?? 0, baseline.min() ?? 0, baseline.max() ?? 0)
        ).print()
    }

    /// A verifier as good as any: PostgreSQL checks its form only.
    private static let verifier =
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
}
