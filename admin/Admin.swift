import ArgumentParser

/// The operator's command line: `cloacina-admin NOUN VERB`.
@main
struct CloacinaAdmin: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cloacina-admin",
        abstract: "Administer Cloacina's tenants and their schemas on PostgreSQL.",
        discussion: """
            Every command names its target on standard error and writes its answer to standard output.

              cloacina-admin bootstrap
              cloacina-admin tenant create acme --credentials-file acme.json
              cloacina-admin migrate status --output json
              cloacina-admin execution list --tenant acme --state failed
              cloacina-admin tenant drop acme --confirm acme

            The administrator's connection is --database-url, else CLOACINA_DATABASE_URL, else libpq's own environment \
            (PGHOST, PGSERVICE, ~/.pgpass, …). One that is set but empty is refused, and so is what libpq would misread: a \
            parameter it doesn't know, or an @ or / of a password that is not percent-encoded.

            With --output json every command writes one JSON document, and with ndjson lists line by line. One that fails \
            writes one document, {"error": {"code", "message", "detail", "hint", "tenant", "step", "sqlstate", "exit"}}, \
            unless it has given its answer by then.

            \(CommandStatus.explanation)

            Completion for your shell: cloacina-admin --generate-completion-script bash (or zsh, fish).
            """,
        subcommands: [
            Bootstrap.self, TenantCommand.self, Migrate.self, ExecutionCommand.self, WorkflowCommand.self, Dev.self,
        ])

    /// Parses, runs, and ends the process with the status of ``CommandStatus``.
    static func main() async {
        await CommandRunner(console: .system).runAndExit(Array(CommandLine.arguments.dropFirst()))
    }

    /// Every verb: the words that lead to it, and its command.
    static var verbs: [(words: [String], command: any ParsableCommand.Type)] { Self.verbs(below: Self.self, []) }

    private static func verbs(
        below command: any ParsableCommand.Type, _ words: [String]
    ) -> [(words: [String], command: any ParsableCommand.Type)] {
        let subcommands = command.configuration.subcommands
        guard !subcommands.isEmpty else { return [(words, command)] }
        return subcommands.flatMap { Self.verbs(below: $0, words + [$0._commandName]) }
    }
}
