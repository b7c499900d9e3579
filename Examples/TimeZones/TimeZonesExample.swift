import ArgumentParser
import Cloacina
import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import FoundationEssentials

/// Loads the system's table of time zones into every tenant's own tables: one pipeline per tenant, one pool for all.
@main
struct TimeZonesExample: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "timezones-example",
        abstract: "Run the time-zone pipeline for several tenants at once, over one connection pool.",
        discussion: """
            Applies the example's migrations to each tenant as the administrator, then works with the service's login \
            (--isolation role) or with each tenant's own (--isolation login), which needs \
            `cloacina-admin tenant access NAME --engine`.
            """
    )

    enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
        case table, json
    }

    enum Isolation: String, ExpressibleByArgument, CaseIterable {
        case role, login

        var level: TenantIsolation {
            switch self {
            case .role: .role
            case .login: .login
            }
        }
    }

    @Option(help: "The administrator's connection; else CLOACINA_DATABASE_URL, else libpq's environment.")
    var databaseUrl: String?

    @Option(help: "The file with the service's credentials, as `cloacina-admin bootstrap` wrote it.")
    var serviceCredentials: String

    @Option(help: "The folder with each tenant's credentials, NAME.json; needed for --isolation login.")
    var tenantCredentials: String?

    @Option(name: .customLong("tenant"), help: "A tenant to run for; may be repeated.")
    var tenants: [String] = []

    @Option(help: "role: one login that takes on each tenant's role. login: each tenant's own login.")
    var isolation = Isolation.role

    @Option(help: "The table to load.")
    var input = "/usr/share/zoneinfo/zone1970.tab"

    @Option(help: "The folder with the example's migrations.")
    var migrations = "Examples/TimeZones/migrations"

    @Option(help: "How many connections all tenants share.")
    var maximumConnections = 4

    @Option(help: "table or json.")
    var output = OutputFormat.table

    func validate() throws {
        if self.tenants.isEmpty {
            throw ValidationError("Name at least one --tenant.")
        }
        if Set(self.tenants).count < self.tenants.count {
            throw ValidationError("A --tenant is named twice.")
        }
        if self.isolation == .login, self.tenantCredentials == nil {
            throw ValidationError("--isolation login needs --tenant-credentials DIRECTORY.")
        }
    }

    func run() async throws {
        let tenants = try await self.migratedTenants()
        let pool = PostgresPool(try self.poolConfiguration(for: tenants))
        let reports = try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await pool.run() }
            let reports = try await self.reports(for: tenants, over: pool)
            group.cancelAll()
            return reports
        }
        switch self.output {
        case .table: print(Report.table(reports))
        case .json: print(try Report.json(reports))
        }
    }

    /// Brings the example's tables in each tenant's schema up to date and looks the tenants up, as the administrator.
    private func migratedTenants() async throws -> [Tenant] {
        let url = self.databaseUrl ?? ProcessInfo.processInfo.environment["CLOACINA_DATABASE_URL"]
        let migrations = try MigrationSet(directory: self.migrations, source: "time_zones")
        let admin = DatabaseAdmin(PostgresConfiguration(url ?? ""))
        var tenants: [Tenant] = []
        for name in self.tenants {
            let report = try await admin.migrate(tenant: name, sets: [migrations])
            if let failure = report.failures.first {
                throw ExampleError("tenant \(name) could not be migrated: \(failure.error ?? failure.outcome.rawValue)")
            }
            tenants.append(try await admin.tenant(named: name))
        }
        await admin.close()
        return tenants
    }

    /// The service's connection, and for `--isolation login` the tenants' passwords beside it.
    private func poolConfiguration(for tenants: [Tenant]) throws -> PostgresPoolConfiguration {
        let service = try Credentials(contentsOf: self.serviceCredentials)
        var configuration = PostgresPoolConfiguration(PostgresConfiguration(service.connectionString))
        configuration.connection.applicationName = "timezones-example"
        configuration.maximumConnections = self.maximumConnections
        if self.isolation == .login, let directory = self.tenantCredentials {
            let logins = try tenants.map { try Credentials(contentsOf: "\(directory)/\($0.name).json") }
            let passwords = Dictionary(logins.map { ($0.username, $0.password) }) { first, _ in first }
            configuration.password = { login in
                guard let password = passwords[login] else {
                    throw ExampleError("there are no credentials for the login \(login) in \(directory)")
                }
                return password
            }
        }
        return configuration
    }

    /// Runs every tenant's pipeline at the same time; the reports come in the tenants' order.
    private func reports(for tenants: [Tenant], over pool: PostgresPool) async throws -> [TenantReport] {
        let workflow = try EtlWorkflow.make(input: self.input)
        return try await withThrowingTaskGroup(of: (Int, TenantReport).self) { group in
            for (index, tenant) in tenants.enumerated() {
                let runner = try DefaultRunner(
                    pool: pool, label: tenant.label(self.isolation.level), workflows: [workflow])
                group.addTask {
                    (index, try TenantReport(of: try await runner.execute(workflow.name), for: tenant))
                }
            }
            var reports: [(Int, TenantReport)] = []
            for try await report in group {
                reports.append(report)
            }
            return reports.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }
}

extension TenantReport {
    /// Reads a run's result; throws the error of the task that failed.
    init(of result: PipelineResult, for tenant: Tenant) throws {
        if result.status != .completed {
            let reasons = result.tasks.compactMap { task in task.error.map { "\(task.id): \($0)" } }
            throw ExampleError("tenant \(tenant.name): the run \(result.status)\n" + reasons.joined(separator: "\n"))
        }
        self.init(
            tenant: tenant.name, schema: tenant.schema, version: tenant.version,
            rowsLoaded: try result.finalContext.get("rows_loaded"),
            tasks: result.tasks.map { TaskTime(name: $0.id, milliseconds: ($0.duration ?? .zero) / .milliseconds(1)) }
        )
    }
}

/// The part of a credentials file that a client needs.
struct Credentials: Decodable {
    let username: String
    let password: String
    let connectionString: String

    init(contentsOf path: String) throws {
        do {
            self = try JSONDecoder().decode(Self.self, from: Data(contentsOf: URL(filePath: path)))
        } catch {
            throw ExampleError("can't read the credentials in \(path); `cloacina-admin` writes that file")
        }
    }
}

/// Something a person can put right.
struct ExampleError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
