import ArgumentParser
import CloacinaPostgres
import Testing

@testable import cloacina_admin

@Suite struct OptionsTests {
    @Test(arguments: [
        (["--database-url", "postgresql://a"], ["CLOACINA_DATABASE_URL": "postgresql://b"], "postgresql://a"),
        ([], ["CLOACINA_DATABASE_URL": "postgresql://b"], "postgresql://b"),
        ([], ["PGHOST": "elsewhere", "DATABASE_URL": "postgresql://c"], ""),
    ])
    func theOptionComesBeforeTheEnvironmentAndThatBeforeLibpqs(
        _ arguments: [String], _ environment: [String: String], _ expected: String
    ) throws {
        let options = try ConnectionOptions.parse(arguments)
        #expect(try options.connectionString(environment: environment) == expected)
        #expect(try options.configuration(environment: environment).connectionString == expected)
    }

    @Test func theOutputIsATableUnlessAskedOtherwise() throws {
        #expect(try OutputOptions.parse([]).output == .table)
        #expect(try OutputOptions.parse(["--output", "ndjson"]).output == .ndjson)
        #expect(throws: (any Error).self) { try OutputOptions.parse(["--output", "xml"]) }
    }

    @Test func confirmationWantsTheVeryName() throws {
        let quiet = Collector().console(terminal: false)
        #expect(failure { try ConfirmationOptions.parse(["--confirm", "acme"]).check("acme", console: quiet) } == nil)
        let wrong = failure { try ConfirmationOptions.parse(["--confirm", "Acme"]).check("acme", console: quiet) }
        #expect(wrong?.status == .usage)
    }

    @Test func withoutATerminalTheMissingFlagIsNamed() throws {
        let quiet = Collector().console(terminal: false)
        let confirm = failure { try ConfirmationOptions.parse([]).check("acme", console: quiet) }
        #expect(confirm?.status == .usage)
        #expect(confirm?.message.contains("--confirm acme") == true)
        let yes = failure { try AssentOptions.parse([]).check("Really?", console: quiet) }
        #expect(yes?.status == .usage)
        #expect(yes?.message.contains("--yes") == true)
    }

    @Test(arguments: [("acme", CommandStatus?.none), ("acm", .usage), ("", .usage)])
    func aTerminalIsAskedForTheName(_ answer: String, _ status: CommandStatus?) throws {
        let collector = Collector(answer: answer)
        let outcome = failure {
            try ConfirmationOptions.parse([]).check("acme", console: collector.console(terminal: true))
        }
        #expect(outcome?.status == status)
        #expect(collector.notes.contains("Type the tenant's name"))
        #expect(collector.data.isEmpty)
    }

    @Test(arguments: [("y", true), ("YES", true), ("n", false), ("", false)])
    func aTerminalIsAskedForAssent(_ answer: String, _ agreed: Bool) throws {
        let console = Collector(answer: answer).console(terminal: true)
        #expect((failure { try AssentOptions.parse([]).check("Really?", console: console) } == nil) == agreed)
    }

    @Test func aSecretGoesToAFileOrATerminalAndNowhereElse() throws {
        let quiet = Collector().console(terminal: false)
        let terminal = Collector().console(terminal: true)
        let none = try CredentialsOptions.parse([])
        let file = try CredentialsOptions.parse(["--credentials-file", "a.json"])
        #expect(try file.destination(isSupplied: false, console: quiet) == .file("a.json"))
        #expect(try none.destination(isSupplied: false, console: terminal) == .terminal)
        #expect(try none.destination(isSupplied: true, console: quiet) == .nowhere)
        let refused = failure { _ = try none.destination(isSupplied: false, console: quiet) }
        #expect(refused?.status == .usage)
        #expect(refused?.hint?.contains("--credentials-file") == true)
    }

    @Test func aPasswordHasOneSource() {
        #expect(throws: (any Error).self) {
            try PasswordOptions.parse(["--password-file", "a", "--password-stdin"])
        }
        #expect(throws: (any Error).self) { try PasswordOptions.parse(["--password", "secret"]) }
    }

    @Test(arguments: [("geheim\n", "geheim"), ("a b\r\nsecond", "a b"), ("no newline", "no newline")])
    func aPasswordFileCountsUpToItsFirstLineEnd(_ content: String, _ password: String) throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/password"
            try PrivateFile.create(path, holding: Array(content.utf8))
            #expect(try PasswordOptions.parse(["--password-file", path]).read() == password)
        }
    }

    @Test(arguments: ["", "\nsecond", "\r\n"])
    func anEmptyPasswordFileIsRefused(_ content: String) throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/password"
            try PrivateFile.create(path, holding: Array(content.utf8))
            #expect(failure { _ = try PasswordOptions.parse(["--password-file", path]).read() }?.status == .usage)
        }
    }

    @Test(arguments: [
        ("migrations", "migrations", "migrations"), ("a/b/", "a/b/", "b"), ("a/b=zones", "a/b", "zones"),
        ("a=b/c", "a=b/c", "c"), ("/x=y=z", "/x=y", "z"),
    ])
    func aMigrationDirectoryMayNameItsSource(_ argument: String, _ path: String, _ source: String) throws {
        let directory = try #require(MigrationDirectory(argument: argument))
        #expect(directory.path == path)
        #expect(directory.source == source)
    }

    @Test(arguments: ["", "=x", "a=", "/", "."])
    func aMigrationDirectoryWithoutAPathOrSourceIsRefused(_ argument: String) {
        #expect(MigrationDirectory(argument: argument) == nil)
    }

    @Test func twoDirectoriesCannotShareASource() {
        #expect(throws: (any Error).self) {
            try MigrationOptions.parse(["--migrations", "a/m", "--migrations", "b/m"])
        }
        #expect(throws: Never.self) {
            try MigrationOptions.parse(["--migrations", "a/m", "--migrations", "b/m=other"])
        }
    }
}
