import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials

/// Lends an administrator to one command, after the operator was told where it leads.
enum Administration {
    static func with<R>(
        _ options: ConnectionOptions, tenant: String? = nil, files login: MigrationLogin = .shortLived,
        console: Console,
        _ body: (DatabaseAdmin) async throws -> R
    ) async throws -> R {
        let environment = ProcessInfo.processInfo.environment
        let admin = DatabaseAdmin(
            try options.configuration(environment: environment), migrationLogin: login)
        do {
            console.note(try await Self.target(of: admin, options.origin(environment: environment), tenant, console))
            if let warning = Self.warning(try await admin.endpoint()) { console.note("warning: \(warning)") }
            if let warning = FileLoginOptions.warning(login) { console.note("warning: \(warning)") }
            let result = try await body(admin)
            await admin.close()
            Self.noteRemainder(of: admin, console)
            return result
        } catch {
            await admin.close()
            Self.noteRemainder(of: admin, console)
            throw error
        }
    }

    private static func noteRemainder(of admin: DatabaseAdmin, _ console: Console) {
        for (login, isShut) in admin.remainingLogins {
            let state = isShut ? "it is shut and has no session" : "it may not be shut, and may have a session"
            console.note(
                "warning: the login \(login), made for files, could not be dropped; \(state). The next command that changes "
                    + "something tries again. A superuser sees what it has with: SELECT * FROM pg_shdepend WHERE refobjid = "
                    + "'\(login)'::regrole")
        }
    }

    private static func target(
        of admin: DatabaseAdmin, _ origin: String, _ tenant: String?, _ console: Console
    ) async throws -> String {
        do {
            return Self.line(try await admin.endpoint(), tenant: tenant)
        } catch {
            // Nobody but libpq can tell where it would have led.
            console.note("target: not reached, as given by \(origin)" + (tenant.map { ", tenant \($0)" } ?? ""))
            throw error
        }
    }

    /// What is to be said of a connection that others on the network can read along, or answer in the server's stead.
    static func warning(_ endpoint: PostgresEndpoint) -> String? {
        let isSocket = endpoint.host.isEmpty || endpoint.host.hasPrefix("/") || endpoint.host.hasPrefix("@")
        guard !endpoint.isEncrypted, !isSocket else { return nil }
        return "the connection is plain TCP: others on its way can read and change it; use sslmode=verify-full"
    }

    /// The first line of every command: where it works, and on whom.
    static func line(_ endpoint: PostgresEndpoint, tenant: String?) -> String {
        self.line(
            host: endpoint.host, port: endpoint.port, database: endpoint.database, role: endpoint.user, tenant: tenant)
    }

    static func line(host: String, port: Int, database: String, role: String, tenant: String?) -> String {
        let parts = [
            "host \(host.isEmpty ? "local socket" : host)", "port \(port)", "database \(database)", "role \(role)",
        ]
        return TextTable.printable(
            "target: " + (parts + [tenant.map { "tenant \($0)" }].compactMap { $0 }).joined(separator: ", "))
    }
}
