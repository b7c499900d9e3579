import ArgumentParser

/// Which development server.
struct ServerOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp("Where the server lives.", valueName: "directory"),
        completion: .directory)
    var directory = DevelopmentServer.defaultDirectory
}
