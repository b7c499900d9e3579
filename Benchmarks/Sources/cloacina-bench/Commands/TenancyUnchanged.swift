import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import Foundation

/// Status and apply where nothing is pending: every tenant's history is compared with the files, in the library and by the whole
/// command. What connecting takes is measured in each round and taken off.
struct TenancyUnchanged {
    let target: Target
    let count: Int
    let files: Int
    let rounds: Int
    /// The command's path.
    let admin: String

    /// The number of tenants' histories that the baseline asks for in one message.
    private static let batch = 100

    func run() async throws {
        let migrations = try BenchMigrations(self.files, source: "bench")
        try await TenancyDatabase.with(on: self.target) { database in
            try await database.createTenants(self.count, sets: [migrations.set])
            try await migrations.withDirectory { directory in
                try await self.measure(database, migrations.set, directory)
            }
        }
    }

    private func measure(_ database: TenancyDatabase, _ set: MigrationSet, _ directory: URL) async throws {
        let command = FileManager.default.isExecutableFile(atPath: self.admin) ? self.admin : nil
        if command == nil { progress("no figures for the command: there is no \(self.admin); see --admin") }
        progress("\(self.rounds) rounds of status and apply over \(self.count) tenants with nothing pending")
        var samples = Samples(rounds: self.rounds)
        for round in 0...self.rounds {
            var now = Samples(rounds: 1)
            try await self.callStatus(database, set, &now)
            try await self.callApply(database, set, &now)
            now.add(try self.readHistories(database), "libpq")
            if let command { try await self.run(command, database, directory, &now) }
            guard round > 0 else { continue }  // to warm up
            for (side, values) in now.values { samples.add(values.median, side) }
        }
        try self.report(samples, hasCommand: command != nil)
    }

    // MARK: The library

    private func callStatus(_ database: TenancyDatabase, _ set: MigrationSet, _ samples: inout Samples) async throws {
        let (connecting, elapsed) = try await self.timed(database) { admin in
            let status = try await admin.migrationStatus(sets: [set])
            guard status.isCurrent, status.tenants.count == self.count else { throw WrongAnswer() }
        }
        samples.add(connecting, "connecting")
        samples.add(elapsed, "status")
    }

    private func callApply(_ database: TenancyDatabase, _ set: MigrationSet, _ samples: inout Samples) async throws {
        let (connecting, elapsed) = try await self.timed(database) { admin in
            let report = try await admin.migrate(sets: [set])
            guard report.results.isEmpty, report.upToDate == self.count else { throw WrongAnswer() }
        }
        samples.add(connecting, "connecting")
        samples.add(elapsed, "apply")
    }

    /// The time that a new administrator's connection takes, and then an operation on it.
    private func timed(
        _ database: TenancyDatabase, _ operation: (DatabaseAdmin) async throws -> Void
    ) async throws -> (connecting: Double, elapsed: Double) {
        try await database.withAdmin { admin in
            let connecting = try await milliseconds { _ = try await admin.endpoint() }
            return (connecting, try await milliseconds { try await operation(admin) })
        }
    }

    // MARK: The command

    private func run(
        _ command: String, _ database: TenancyDatabase, _ directory: URL, _ samples: inout Samples
    ) async throws {
        var environment = database.target.environment
        environment["CLOACINA_DATABASE_URL"] = nil
        let connecting = samples.median("connecting")
        let verbs: [(verb: String, extra: [String])] = [("status", []), ("apply", ["--yes"])]
        for (verb, extra) in verbs {
            let arguments = [command, "migrate", verb, "--migrations", "\(directory.path)=bench"] + extra
            let elapsed = try await self.run(arguments, environment)
            samples.add(elapsed - connecting, "command \(verb)")
        }
        samples.add(try await self.run([command, "--help"], environment), "command's start")
    }

    private func run(_ arguments: [String], _ environment: [String: String]) async throws -> Double {
        try await milliseconds { try await onThread { _ = try Tool.run(arguments, environment: environment) } }
    }

    // MARK: The baseline

    /// The time that a new libpq connection of a superuser, who needs no roles, takes to read every history; connecting left out.
    private func readHistories(_ database: TenancyDatabase) throws -> Double {
        let libpq = try BlockingConnection(database.superuser)
        let start = ContinuousClock.now
        for first in stride(from: 0, to: self.count, by: Self.batch) {
            let statements = (first..<min(first + Self.batch, self.count)).map { number in
                let schema = PostgresIdentifier.quote(database.tenant(number))
                return "SELECT source, version, canonical_checksum, state FROM \(schema).cloacina_migrations;"
            }
            try libpq.execute(statements.joined(separator: "\n"))
        }
        return start.duration(to: .now).microseconds / 1_000
    }

    // MARK: The figures

    private func report(_ samples: Samples, hasCommand: Bool) throws {
        let settings = """
            target ≤ 100 ms beyond connecting, which took \(samples.spread("connecting")); \(self.count) tenants × \
            \(self.files) files; baseline: a superuser's new libpq connection reads the histories, \(Self.batch) to a message, \
            and compares nothing; connecting not counted
            """
        for verb in ["status", "apply"] {
            try samples.figure(
                "tenancy.unchanged.\(verb)", ours: verb, baseline: "libpq", unit: "ms",
                notes: "\(settings); a new administrator each time"
            ).print()
            guard hasCommand else { continue }
            try samples.figure(
                "tenancy.unchanged.command.\(verb)", ours: "command \(verb)", baseline: "libpq", unit: "ms",
                notes: """
                    \(settings); ours: the whole run of cloacina-admin migrate \(verb), less connecting; its run that only \
                    prints --help took \(samples.spread("command's start"))
                    """
            ).print()
        }
    }
}
