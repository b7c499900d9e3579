import FoundationEssentials
import Glibc
import Testing

@testable import cloacina_admin

/// The built command behind a ``KillingProxy``: killed at one place after the other, and each time run again to its end.
struct MortalCommand: Sendable {
    let command: AdminCommand
    private let proxy: KillingProxy
    private let url: String

    /// The places of a command that are tried.
    ///
    /// `CLOACINA_TEST_KILLS` is `all`, or the number from which a sample begins; chance decides otherwise. A sample is
    /// every so many places, so that a run of it takes seconds.
    struct Sample {
        static let isEverything = ProcessInfo.processInfo.environment["CLOACINA_TEST_KILLS"] == "all"

        let first: Int
        let step: Int

        init(every step: Int) {
            let wish = ProcessInfo.processInfo.environment["CLOACINA_TEST_KILLS"]
            self.step = Self.isEverything ? 1 : step
            self.first = (wish.flatMap { UInt($0) }.map { Int(clamping: $0) } ?? Int.random(in: 0..<step)) % self.step
        }
    }

    /// Lends a command whose conversation with the test's own database goes through a proxy.
    static func with<R>(_ body: (MortalCommand) async throws -> R) async throws -> R {
        try await AdminCommand.with { command in
            var url = try command.url()
            let proxy = try KillingProxy(serverPort: try #require(url.port.flatMap { UInt16(exactly: $0) }))
            defer { proxy.end() }
            url.host = "127.0.0.1"
            url.port = Int(proxy.port)
            // Nobody can count what is encrypted.
            url.queryItems = ["sslmode", "gssencmode"].map { URLQueryItem(name: $0, value: "disable") }
            return try await body(MortalCommand(command: command, proxy: proxy, url: try #require(url.string)))
        }
    }

    /// Runs a command to its end.
    func run(_ arguments: [String]) async throws -> AdminCommand.Answer {
        try await self.command.run(arguments, variables: [ConnectionOptions.environmentVariable: self.url])
    }

    /// Kills a command at each place of a sample, until it is through before it gets there, and then at the last place of
    /// all, where nothing but an answer is lost.
    ///
    /// - Parameters:
    ///   - arguments: What to run, once everything that it needs is there.
    ///   - check: Looks at what a death left, runs the command again and looks at what came of it; is told the place.
    ///   - survived: Cleans up after a run that nothing was killed in.
    func die(
        _ sample: Sample, _ what: String, _ arguments: () async throws -> [String],
        check: (String, [String]) async throws -> Void, survived: ([String]) async throws -> Void
    ) async throws {
        var (number, isLast, deaths) = (sample.first, false, 0)
        while true {
            let line = try await arguments()
            self.proxy.kill(self.command.process, at: number)
            let answer = try await self.run(line)
            let end = await self.proxy.settle()
            if let place = end.reached {
                #expect(answer.status == 128 + SIGKILL, "\(what) at \(place): \(answer.notes)")
                try await check(place, line)
                deaths += 1
                number += sample.step
            } else {
                #expect(answer.status == 0, "\(what) undisturbed: \(answer.notes)")
                try await survived(line)
                number = end.places - 1
            }
            if isLast { break }
            isLast = end.reached == nil
        }
        print("\(what): killed \(deaths) times, at every \(sample.step)th place from \(sample.first) and at the last")
        #expect(deaths > 0)
    }
}
