import Testing

@testable import CloacinaPostgres

@Suite struct SessionSettingTests {
    private typealias Setting = SessionSetting<LockTimeout>

    @Test func aSteadyValueIsSetOnce() {
        var setting = Setting(.standard)
        #expect(!setting.needsSetting(.standard, lease: 1))
        #expect(setting.needsSetting(.milliseconds(5), lease: 1))
        setting.didSet(.milliseconds(5), inTransaction: false)
        #expect(!setting.needsSetting(.milliseconds(5), lease: 2))
        #expect(setting.needsSetting(.standard, lease: 2))
    }

    @Test func aValueIsUnknownAfterForeignSQLForTheNextLeaseOnly() {
        var setting = Setting(.standard)
        setting.didRunForeignSQL(in: 1)
        #expect(!setting.needsSetting(.standard, lease: 1))
        #expect(setting.needsSetting(.standard, lease: 2))
    }

    @Test(arguments: [true, false]) func aValueSetInATransactionLastsIfItCommits(commits: Bool) {
        var setting = Setting(.standard)
        setting.didSet(.milliseconds(5), inTransaction: true)
        setting.didEndTransaction(committed: commits)
        #expect(setting.needsSetting(.milliseconds(5), lease: 1) == !commits)
        #expect(setting.needsSetting(.standard, lease: 1))
    }

    @Test(arguments: [
        (Duration?.none, PostgresValue.null), (.zero, .text("1")), (.seconds(-1), .text("1")),
        (.microseconds(1500), .text("2")), (.seconds(2), .text("2000")), (.seconds(Int64.max), .text("2147483647")),
    ])
    func aLockTimeoutIsAtLeastAMillisecond(duration: Duration?, bind: PostgresValue) {
        #expect(LockTimeout(duration).bind == bind)
    }

    @Test func timesBeyondAllBoundsDoNotTrap() {
        for duration in [Duration.seconds(Int64.max), .seconds(Int64.min), .zero, .milliseconds(Int64.max)] {
            #expect((.zero ... .century).contains(duration.bounded))
            #expect(duration.boundedNanoseconds >= 0 && duration.boundedMilliseconds >= 0)
            #expect(ContinuousClock.Instant.fromNow(duration) >= .now.advanced(by: .seconds(-60)))
        }
        #expect(ContinuousClock.now.advanced(by: .seconds(Int64.max)).bounded < .now.advanced(by: .century * 2))
    }
}

@Suite struct PoolerProbeTests {
    @Test(arguments: [
        ([Int32(1), 1, 1], [Int32(2), 2, 2], false), ([1], [1], true), ([1, 2], [3], true), ([1, 1], [2, 3], true),
        ([1, 1], [2, 1], true),
    ])
    func aSessionSeenTwiceIsShared(own: [Int32], other: [Int32], isShared: Bool) {
        #expect(PoolerProbe.isShared(own: own, other: other) == isShared)
    }
}
