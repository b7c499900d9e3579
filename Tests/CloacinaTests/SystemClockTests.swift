import FoundationEssentials
import Synchronization
import Testing

@testable import Cloacina

/// The system's clock, when somebody steps it.
@Suite struct SystemClockTests {
    /// Two clocks in the test's hand.
    private final class Hands: Sendable {
        private let hands = Mutex((wall: Date(timeIntervalSince1970: 1_790_000_000), monotonic: ContinuousClock.now))

        func pass(_ seconds: Double, wallStep: Double = 0) {
            self.hands.withLock { hands in
                hands.wall += seconds + wallStep
                hands.monotonic += .seconds(seconds)
            }
        }

        func setWall(_ wall: Date) { self.hands.withLock { $0.wall = wall } }

        var clock: SystemEngineClock {
            SystemEngineClock(
                wall: { self.hands.withLock { $0.wall } }, monotonic: { self.hands.withLock { $0.monotonic } })
        }
    }

    @Test func aClockThatIsPutBackALittleGoesOnAtHalfSpeedUntilAllAgree() {
        let hands = Hands()
        let clock = hands.clock
        let start = clock.now()
        hands.pass(10)
        #expect(clock.now() == start + 10)
        hands.pass(0, wallStep: -4)
        #expect(clock.now() == start + 10)
        hands.pass(2)
        #expect(clock.now() == start + 11)
        // After eight seconds the clock has caught up.
        hands.pass(6)
        #expect(clock.now() == start + 14)
        hands.pass(10)
        #expect(clock.now() == start + 24)
    }

    @Test func aClockThatWasFarAheadIsPutRightAtOnce() {
        let hands = Hands()
        let clock = hands.clock
        let start = clock.now()
        hands.pass(1, wallStep: 3_600)
        #expect(clock.now() == start + 3_601)
        hands.pass(1, wallStep: -3_600)
        #expect(clock.now() == start + 2)
        hands.pass(1)
        #expect(clock.now() == start + 3)
    }

    @Test func aClockThatGoesBackAgainAndAgainIsFollowed() {
        let hands = Hands()
        let clock = hands.clock
        let start = clock.now()
        hands.pass(0, wallStep: -4)
        #expect(clock.now() == start)
        hands.pass(0, wallStep: -4)
        #expect(clock.now() == start - 8)
    }

    @Test func aClockThatIsPutForwardIsFollowed() {
        let hands = Hands()
        let clock = hands.clock
        let start = clock.now()
        hands.pass(1, wallStep: 3_600)
        #expect(clock.now() == start + 3_601)
    }

    @Test(arguments: [Double.nan, .infinity, -.infinity]) func aTimeThatIsNoneIsNotFollowed(_ seconds: Double) {
        let hands = Hands()
        let clock = hands.clock
        let start = clock.now()
        hands.setWall(Date(timeIntervalSinceReferenceDate: seconds))
        hands.pass(2)
        #expect(clock.now() == start + 1)
        hands.setWall(start + 3)
        #expect(clock.now() == start + 3)
    }

    @Test(arguments: [Duration.seconds(Int64.max), .milliseconds(Int64.max)])
    func aWaitWithoutEndCanBeCancelled(_ duration: Duration) async {
        let waiting = Task { try await SystemEngineClock().sleep(for: duration) }
        // Begun, so that it is the wait that is cancelled.
        for _ in 0..<100 { await Task.yield() }
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
    }

    @Test func aWaitForATimeThatHasPassedIsOver() async throws {
        try await SystemEngineClock().sleep(for: .seconds(Int64.min))
    }

    @Test(
        arguments: [
            (0, .zero), (1.5, .milliseconds(1_500)), (-2, .seconds(-2)), (.nan, .zero),
            (.infinity, .seconds(3_155_760_000)), (-.infinity, .seconds(-3_155_760_000)),
            (1e300, .seconds(3_155_760_000)),
        ] as [(Double, Duration)])
    func secondsAreHeldAtAHundredYears(_ seconds: Double, _ duration: Duration) {
        #expect(Duration.clamped(seconds: seconds) == duration)
    }
}
