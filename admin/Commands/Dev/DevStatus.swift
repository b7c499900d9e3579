import ArgumentParser

/// `cloacina-admin dev status`.
struct DevStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Say whether the private PostgreSQL runs: exit code 0, or 3 when it does not.",
        discussion: """
              cloacina-admin dev status --output json
            """)

    @OptionGroup(title: "Server") var server: ServerOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let console = Console.system
        let server = try DevelopmentServer(directory: self.server.directory, report: { console.note($0) })
        console.note("target: private PostgreSQL in \(server.directory)")
        let renderer = Renderer(console, self.output.output)
        guard let state = try server.status() else {
            try renderer.show(StoppedAnswer(directory: server.directory))
            throw ExitCode(CommandStatus.pending.rawValue)
        }
        try renderer.show(ServerAnswer(state))
    }
}
