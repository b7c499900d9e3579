import ArgumentParser
import Foundation

/// Where to measure and for how long.
struct BenchOptions: ParsableArguments {
    @Option(help: "The server, as libpq reads it. Default: $CLOACINA_DATABASE_URL, then libpq's own environment.")
    var databaseURL: String?

    @Option(help: "How long each side is measured in a round; pgbench counts whole seconds.")
    var seconds: Double = 1

    @Option(help: "How many rounds; each runs every side once, in turns.")
    var rounds: Int = 7

    @Flag(help: "Three short rounds: to see that everything works, not to quote.")
    var quick = false

    func validate() throws {
        guard self.seconds > 0, self.rounds > 0 else { throw ValidationError("Seconds and rounds must be positive.") }
    }

    /// The server to measure on.
    func target() throws -> Target {
        let url = self.databaseURL ?? ProcessInfo.processInfo.environment["CLOACINA_DATABASE_URL"] ?? ""
        return try Target(connectionString: url)
    }

    /// The rounds to run.
    var contest: Contest {
        self.quick
            ? Contest(rounds: 3, slice: .milliseconds(200))
            : Contest(rounds: self.rounds, slice: .seconds(self.seconds))
    }
}
