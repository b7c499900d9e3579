import ArgumentParser

/// `cloacina-admin dev`.
struct Dev: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a private PostgreSQL for development and tests.",
        discussion: """
            The server runs the PostgreSQL programs that are installed, in a data directory of its own, on a socket \
            and a free port of 127.0.0.1 (SCRAM everywhere, never as root). No other cluster is ever touched.

              cloacina-admin dev start
              export CLOACINA_DATABASE_URL=$(cloacina-admin dev status --output json | jq -r .url)
              cloacina-admin dev stop
            """,
        subcommands: [DevStart.self, DevStop.self, DevStatus.self])
}
