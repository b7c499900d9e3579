import ArgumentParser

/// `cloacina-admin dev start`.
struct DevStart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start",
        abstract: "Start the private PostgreSQL; made first if there is none.",
        discussion: """
            Returns when the server answers. One that runs already is left alone, and the answer is the same. `url` is \
            the administrator's connection (CREATEROLE, owner of the database cloacina, not a superuser).

            Settings are kept: every later start uses them as well, until --setting gives one another value or \
            --forget-settings drops those that were kept. On a server that runs they count after dev stop and dev start.

              cloacina-admin dev start
              cloacina-admin dev start --directory /var/tmp/pg18 --postgres-bin /opt/pg18/bin --output json
              cloacina-admin dev start --setting log_statement=all --setting max_connections=500
            """)

    @OptionGroup(title: "Server") var server: ServerOptions

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Where initdb and postgres are (default: the newest under /usr/lib/postgresql, else the PATH).",
            valueName: "directory"),
        completion: .directory)
    var postgresBin: String?

    @Option(
        name: [.customLong("setting")],
        parsing: .singleValue,
        help: ArgumentHelp(
            "A line of postgresql.conf, kept for every later start; may be repeated.", valueName: "name=value"))
    var settings: [ServerSetting] = []

    @Flag(name: .long, help: "Drop the settings that were kept; those of this command line count.")
    var forgetSettings = false

    @OptionGroup(title: "Output") var output: OutputOptions

    func validate() throws {
        for setting in self.settings where ServerSetting.reserved.contains(setting.name) {
            throw ValidationError("--setting: \(setting.name) is what keeps this server private")
        }
    }

    func run() async throws {
        let console = Console.system
        let server = try DevelopmentServer(
            directory: self.server.directory, binaries: self.postgresBin, settings: self.settings,
            forgetsSettings: self.forgetSettings, report: { console.note($0) })
        console.note("target: private PostgreSQL in \(server.directory)")
        let state = try await server.start()
        try Renderer(console, self.output.output).show(ServerAnswer(state))
    }
}
