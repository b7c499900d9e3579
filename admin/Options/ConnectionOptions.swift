import ArgumentParser
import CloacinaPostgres

/// Which server, database and role the administrator uses.
struct ConnectionOptions: ParsableArguments {
    static let environmentVariable = "CLOACINA_DATABASE_URL"

    @Option(
        name: .long,
        help: ArgumentHelp(
            "The administrator's connection: a URL or a libpq keyword string.",
            discussion: """
                Without it CLOACINA_DATABASE_URL counts, and without that libpq's own environment. One that is set but \
                empty is refused. Others on this machine can read arguments, so keep a password in the environment, in \
                ~/.pgpass or in a service file.
                """,
            valueName: "url"))
    var databaseUrl: String?

    /// The variables of libpq's that say where a connection leads.
    static let libpqVariables = [
        "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGSERVICEFILE",
    ]

    /// The connection string that counts; empty leaves everything to libpq's environment.
    ///
    /// - Throws: ``CommandError`` of status ``CommandStatus/usage`` when what counts is set but empty: it would lead to whatever
    ///   the next place says.
    func connectionString(environment: [String: String]) throws -> String {
        if let url = self.databaseUrl { return try Self.filled(url, "--database-url") }
        if let url = environment[Self.environmentVariable] { return try Self.filled(url, Self.environmentVariable) }
        for name in Self.libpqVariables {
            if let value = environment[name] { _ = try Self.filled(value, name) }
        }
        return ""
    }

    private static func filled(_ value: String, _ name: String) throws -> String {
        guard value.contains(where: { !$0.isWhitespace }) else { throw CommandError.empty(name) }
        return value
    }

    /// Who said so.
    func origin(environment: [String: String]) -> String {
        if self.databaseUrl != nil { return "--database-url" }
        return environment[Self.environmentVariable] == nil ? "libpq's environment" : Self.environmentVariable
    }

    func configuration(environment: [String: String]) throws -> PostgresConfiguration {
        var configuration = PostgresConfiguration(try self.connectionString(environment: environment))
        configuration.applicationName = "cloacina-admin"
        return configuration
    }
}
