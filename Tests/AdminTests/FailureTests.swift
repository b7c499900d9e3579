import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import Testing

@testable import cloacina_admin

@Suite struct FailureTests {
    static let refused = PostgresError(
        .rejectedByServer, sqlState: "42501", serverMessage: "permission denied for schema x | Key (name)=(secret)",
        statement: "CREATE ROLE x PASSWORD 'SCRAM-SHA-256$4096:abc'")
    static let unreachable = PostgresError(
        .connectionFailed, serverMessage: "connection to server failed:\n\trefused\n")

    @Test(arguments: [
        (AdminError(.invalidName, ""), CommandStatus.usage),
        (AdminError(.invalidConfiguration, ""), .usage),
        (AdminError(.passwordNotAcceptable, ""), .usage),
        (AdminError(.tenantExists, ""), .failed),
        (AdminError(.tenantNotFound, ""), .failed),
        (AdminError(.tenantNotReady, ""), .failed),
        (AdminError(.schemaExists, ""), .failed),
        (AdminError(.schemaReplaced, ""), .failed),
        (AdminError(.roleExists, ""), .failed),
        (AdminError(.unsupportedServer, ""), .failed),
        (AdminError(.notBootstrapped, ""), .failed),
        (AdminError(.removalIncomplete, ""), .failed),
        (AdminError(.dependentsExist, ""), .failed),
        (AdminError(.usedElsewhere, ""), .failed),
        (AdminError(.rejectedByServer, ""), .failed),
        (AdminError(.cancelled, ""), .failed),
        (AdminError(.handOverFailed, ""), .failed),
        (AdminError(.handOverFailed, "", underlying: CommandError(.privileges, "no")), .privileges),
        (AdminError(.insufficientPrivilege, ""), .privileges),
        (AdminError(.loginRefused, ""), .privileges),
        (AdminError(.busy, ""), .lockBusy),
        (AdminError(.connection, ""), .tryAgainLater),
        (AdminError(.connection, "", underlying: Self.unreachable), .tryAgainLater),
        (AdminError(.connection, "", underlying: PostgresError(.invalidConnectionString)), .usage),
        (AdminError(.connection, "", underlying: PostgresError(.connectionFailed, sqlState: "28P01")), .privileges),
        (AdminError(.migrationFailed, "", underlying: MigrationError(.failedClean)), .failed),
        (AdminError(.migrationFailed, "", underlying: MigrationError(.lockTimeout)), .lockBusy),
    ])
    func everyAdministrationErrorHasItsStatus(_ error: AdminError, _ status: CommandStatus) {
        #expect(Failure(error).status == status)
    }

    @Test(arguments: [
        (PostgresError(.rejectedByServer, sqlState: "42501"), CommandStatus.privileges),
        (PostgresError(.rejectedByServer, sqlState: "42P07"), .failed),
        (PostgresError(.rejectedByServer, sqlState: "55P03"), .lockBusy),
        (PostgresError(.rejectedByServer, sqlState: "55006"), .failed),
        (PostgresError(.connectionFailed, sqlState: "28000"), .privileges),
        (PostgresError(.connectionFailed, sqlState: "3D000"), .failed),
        (PostgresError(.connectionFailed, sqlState: "53300"), .tryAgainLater),
        (PostgresError(.connectionFailed), .tryAgainLater),
        // X6: what never works, however often it is tried, is not 75.
        (PostgresError(.connectionFailed, isPermanent: true), .failed),
        (PostgresError(.connectionFailed, sqlState: "53200"), .tryAgainLater),
        (PostgresError(.connectionFailed, sqlState: "57P03"), .tryAgainLater),
        (PostgresError(.connectionFailed, sqlState: "08P01"), .failed),
        (PostgresError(.connectionFailed, sqlState: "08004"), .failed),
        (PostgresError(.connectionFailed, sqlState: "22023"), .failed),
        (PostgresError(.rejectedByServer, sqlState: "57014"), .failed),
        (PostgresError(.rejectedByServer, sqlState: "53200"), .failed),
        (PostgresError(.rejectedByServer, sqlState: "53400"), .failed),
        (PostgresError(.rejectedByServer, sqlState: "57P04"), .failed),
        (PostgresError(.rejectedByServer, sqlState: "40002"), .failed),
        (PostgresError(.rejectedByServer, sqlState: "53100"), .tryAgainLater),
        (PostgresError(.rejectedByServer, sqlState: "40001"), .tryAgainLater),
        (PostgresError(.rejectedByServer, sqlState: "40P01"), .tryAgainLater),
        (PostgresError(.connectionLost, sqlState: "57P01"), .tryAgainLater),
        (PostgresError(.connectionLost, sqlState: "25P03"), .tryAgainLater),
        (PostgresError(.connectionClosed), .tryAgainLater),
        (PostgresError(.checkoutTimedOut), .tryAgainLater),
        (PostgresError(.deadlineExceeded), .tryAgainLater),
        (PostgresError(.poolerUnsupported), .failed),
        (PostgresError(.missingSchema), .failed),
        (PostgresError(.connectionLost), .tryAgainLater),
        (PostgresError(.invalidConnectionString), .usage),
        (PostgresError(.decodingFailed), .failed),
    ])
    func everyDriverErrorHasItsStatus(_ error: PostgresError, _ status: CommandStatus) {
        #expect(Failure(error).status == status)
    }

    @Test(arguments: [
        (MigrationError(.lockBusy), CommandStatus.lockBusy), (MigrationError(.lockTimeout), .lockBusy),
        (MigrationError(.unreadableDirectory), .usage), (MigrationError(.invalidFile), .failed),
        (MigrationError(.checksumChanged), .failed), (MigrationError(.failedUnknown), .failed),
        (MigrationError(.connectionFailed), .tryAgainLater),
        (MigrationError(.serverRefused, underlying: Self.refused), .privileges),
    ])
    func everyMigrationErrorHasItsStatus(_ error: MigrationError, _ status: CommandStatus) {
        #expect(Failure(error).status == status)
    }

    @Test(arguments: [
        (AdminError(.tenantExists, "") as any Error, "tenant reissue"),
        (
            AdminError(.rejectedByServer, "", underlying: PostgresError(.rejectedByServer, sqlState: "25006")),
            "read-only"
        ),
        (MigrationError(.unreadableDirectory, file: "app"), "--migrations DIRECTORY=SOURCE"),
        (
            AdminError(.migrationFailed, "", underlying: MigrationError(.serverRefused, underlying: Self.refused)),
            "--database-url"
        ),
    ])
    func aRefusalNamesTheNextStep(_ error: any Error, _ words: String) {
        #expect(Failure(error).hint?.contains(words) == true)
    }

    @Test func theNumbersAreTheDocumentedOnes() {
        #expect(CommandStatus.allCases.map(\.rawValue) == [0, 1, 2, 3, 4, 5, 6, 75])
        for status in CommandStatus.allCases {
            #expect(CommandStatus.explanation.contains("\(status.rawValue) "))
        }
    }

    @Test func theServersMessageIsToldWithoutRowsStatementsAndVerifiers() {
        let failure = Failure(AdminError(.insufficientPrivilege, "refused", underlying: Self.refused))
        #expect(failure.detail == "permission denied for schema x")
        let told = failure.message + (failure.detail ?? "") + (failure.hint ?? "")
        #expect(!told.contains("secret"))
        #expect(!told.contains("SCRAM"))
    }

    @Test func libpqsWordsBecomeOneLine() {
        #expect(Failure(Self.unreachable).detail == "connection to server failed: refused")
    }

    @Test func onlyACancellationIsAnInterruption() {
        #expect(Failure(CancellationError()).isInterruption)
        #expect(Failure(AdminError(.cancelled, "")).isInterruption)
        #expect(Failure(PostgresError(.cancelled)).isInterruption)
        #expect(Failure(MigrationError(.cancelled)).isInterruption)
        #expect(!Failure(AdminError(.busy, "")).isInterruption)
    }

    @Test func whatHasANextStepNamesIt() {
        #expect(Failure(AdminError(.notBootstrapped, "")).hint == "cloacina-admin bootstrap")
        #expect(Failure(AdminError(.removalIncomplete, "")).hint?.contains("same command") == true)
        #expect(Failure(AdminError(.dependentsExist, "")).hint?.contains("--cascade") == true)
    }
}
