import CloacinaPostgres
import Testing

@testable import CloacinaTenancy

/// Issue 11, C3: one deadline over all steps of a removal, and a limit to every wait.
@Suite struct RemovalPatienceTests {
    private let start = ContinuousClock.now

    @Test func anAttemptWaitsHalfASecondAtMostAndNeverBeyondTheDeadline() {
        let patience = RemovalPatience(.seconds(2), from: self.start)
        #expect(patience.lockTimeout(at: self.start) == 500)
        #expect(patience.lockTimeout(at: self.start.advanced(by: .milliseconds(1800))) == 200)
        #expect(!patience.isOver(at: self.start.advanced(by: .milliseconds(1999))))
        #expect(patience.isOver(at: self.start.advanced(by: .seconds(2))))
    }

    @Test(arguments: [Duration.zero, .seconds(-5), .seconds(1)])
    func aLockTimeoutIsNeverZeroWhichMeansNoLimit(_ total: Duration) {
        let patience = RemovalPatience(total, from: self.start)
        #expect(patience.lockTimeout(at: self.start.advanced(by: .seconds(60))) == 1)
    }

    @Test func anEndlessPatienceIsCut() {
        let patience = RemovalPatience(.seconds(Int64.max), from: self.start)
        #expect(!patience.isOver(at: self.start.advanced(by: .seconds(86_400))))
        #expect(patience.lockTimeout(at: self.start) == 500)
    }

    @Test(arguments: [
        ("55P03", true), ("40P01", true), ("57014", true), ("XX000", true), ("40001", true), ("42501", false),
        ("53200", false), ("2BP01", false),
    ])
    func onlyWhatPassesIsTriedAgain(_ sqlState: String, _ isPassing: Bool) {
        #expect(RemovalPatience.isPassing(PostgresError(.rejectedByServer, sqlState: sqlState)) == isPassing)
        #expect(!RemovalPatience.isPassing(AdminError(.busy, "", sqlState: sqlState)))
    }
}
