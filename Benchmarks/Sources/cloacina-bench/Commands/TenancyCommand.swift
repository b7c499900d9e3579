import ArgumentParser
import Foundation

/// The administration of many tenants: creating, migrating, finding nothing to do, removing.
struct TenancyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tenancy",
        abstract: "Creating, migrating and removing tenants, against the same statements on libpq and psql.",
        discussion: """
            Needs a superuser, who makes a database for each part, and in it an administrator who is none, by whom everything \
            of ours is done: the server must let that role in by its password. psql must be on the PATH.
            """)

    /// The parts that can be measured by themselves.
    enum Part: String, CaseIterable, ExpressibleByArgument {
        case creation, apply, unchanged, removal
    }

    @OptionGroup var options: BenchOptions

    @Option(help: "How many tenants to create for the figure on creation, with and without files.")
    var creations = 100

    @Option(help: "How many tenants get files for the first time.")
    var tenants = 500

    @Option(help: "How many tenants have nothing pending.")
    var unchanged = 1_000

    @Option(help: "How many files the application has.")
    var files = 20

    @Option(help: "How many large objects the tenant has that is removed.")
    var largeObjects = 60_000

    @Option(help: "The command whose whole run is measured. Build it with `swift build -c release`.")
    var admin = ".build/release/cloacina-admin"

    @Option(name: .customLong("only"), help: "Only these: creation, apply, unchanged, removal.")
    var only: [Part] = []

    func validate() throws {
        let counts = [self.creations, self.tenants, self.unchanged, self.files, self.largeObjects]
        guard counts.allSatisfy({ $0 > 0 }), self.files <= 9_999 else {
            throw ValidationError("Each number must be positive, and of files there are at most 9999.")
        }
    }

    func run() async throws {
        let target = try self.options.target()
        for part in Part.allCases where self.only.isEmpty || self.only.contains(part) {
            switch part {
            case .creation:
                try await TenancyCreation(
                    target: target, count: self.count(self.creations, quick: 5), files: self.files
                )
                .run()
            case .apply:
                try await TenancyApply(
                    target: target, count: self.count(self.tenants, quick: 10), files: self.files, rounds: self.rounds
                ).run()
            case .unchanged:
                try await TenancyUnchanged(
                    target: target, count: self.count(self.unchanged, quick: 20), files: self.files,
                    rounds: self.options.contest.rounds, admin: self.admin
                ).run()
            case .removal:
                try await TenancyRemoval(
                    target: target, count: self.count(self.largeObjects, quick: 3_000), rounds: self.rounds
                ).run()
            }
        }
    }

    private func count(_ count: Int, quick: Int) -> Int { self.options.quick ? min(count, quick) : count }

    /// The rounds of what takes many seconds each.
    private var rounds: Int { min(3, self.options.contest.rounds) }
}
