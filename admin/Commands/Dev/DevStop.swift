import ArgumentParser

/// `cloacina-admin dev stop`.
struct DevStop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop",
        abstract: "Stop the private PostgreSQL; its data stays.",
        discussion: """
            Ends exactly the server of this directory and returns when it is gone. Nothing to stop is no error.

              cloacina-admin dev stop
            """)

    @OptionGroup(title: "Server") var server: ServerOptions
    @OptionGroup(title: "Output") var output: OutputOptions

    func run() async throws {
        let console = Console.system
        let server = try DevelopmentServer(directory: self.server.directory, report: { console.note($0) })
        console.note("target: private PostgreSQL in \(server.directory)")
        let stopped = try await server.stop()
        try Renderer(console, self.output.output).show(StopAnswer(directory: server.directory, pid: stopped))
    }
}
