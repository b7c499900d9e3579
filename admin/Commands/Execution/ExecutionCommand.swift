import ArgumentParser

/// `cloacina-admin execution`.
struct ExecutionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "execution",
        abstract: "List, show and draw the runs of a tenant's workflows, and what no runner takes.",
        discussion: """
              cloacina-admin execution list --tenant acme --state failed
              cloacina-admin execution stranded --tenant acme
              cloacina-admin execution show 019a… --tenant acme --history
              cloacina-admin execution graph 019a… --tenant acme --definition billing.json --format svg > run.svg

            These commands only read. The administrator takes on the tenant's engine role for that, never its owner; it \
            needs no right of its own on the tenant's tables. They are read in a transaction that can't write, and not at all \
            when somebody has tied code to them, such as a policy of row-level security. Contexts, which hold the tenant's data, are never printed; the \
            texts of errors are.
            """,
        subcommands: [ExecutionList.self, ExecutionStranded.self, ExecutionShow.self, ExecutionGraph.self])
}
