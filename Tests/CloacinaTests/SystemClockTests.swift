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

        var clock: SystemEngineClock {
            SystemEngineClock(
                wall: { self.hands.withLock { $0.wall } }, monotonic: { self.hands.withLock { $0.monotonic } })
        }
    }

    @Test func aClockThatIsPutBackGoesOnAtHalfSpeedUntilAllAgree() {
        let hands = Hands()
        let clock = hands.clock
        let start = clock.now()
        hands.pass(10)
        #expect(clock.now() == start + 10)
        hands.pass(0, wallStep: -3_600)
        #expect(clock.now() == start + 10)
        hands.pass(100)
        #expect(clock.now() == start + 60)
        // After two hours the clock has caught up, and shows an hour more than at the start.
        hands.pass(7_100)
        #expect(clock.now() == start + 3_610)
        hands.pass(10)
        #expect(clock.now() == start + 3_620)
    }

    @Test func aClockThatIsPutForwardIsFollowed() {
        let hands = Hands()
        let clock = hands.clock
        let start = clock.now()
        hands.pass(1, wallStep: 3_600)
        #expect(clock.now() == start + 3_601)
    }
}
