import ArgumentParser

/// Measures the library against libpq, pgbench and psql on the same server, in turns.
@main
struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cloacina-bench",
        abstract: "Measures Cloacina against libpq, pgbench and psql on the same server, in turns.",
        discussion: """
            Each figure is one line of JSON on standard output: name, ours, baseline, ratio, unit, notes. Progress goes to \
            standard error. It needs a reachable PostgreSQL and pgbench on the PATH; everything it makes in the database \
            begins with "cloacina_bench" and is removed at the end.
            """,
        subcommands: [
            DriverCommand.self, PoolCommand.self, TenantsCommand.self, EngineCommand.self, LargeCommand.self,
            TenancyCommand.self, CallCommand.self,
        ])
}
