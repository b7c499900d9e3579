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
                Without it CLOACINA_DATABASE_URL counts, and without that libpq's own environment. Others on this \
                machine can read arguments, so keep a password in the environment, in ~/.pgpass or in a service file.
                """,
            valueName: "url"))
    var databaseUrl: String?

    /// The connection string that counts; empty leaves everything to libpq's environment.
    func connectionString(environment: [String: String]) -> String {
        self.databaseUrl ?? environment[Self.environmentVariable] ?? ""
    }

    /// Who said so.
    func origin(environment: [String: String]) -> String {
        if self.databaseUrl != nil { return "--database-url" }
        return environment[Self.environmentVariable] == nil ? "libpq's environment" : Self.environmentVariable
    }

    func configuration(environment: [String: String]) -> PostgresConfiguration {
        var configuration = PostgresConfiguration(self.connectionString(environment: environment))
        configuration.applicationName = "cloacina-admin"
        return configuration
    }
}
