import Testing

@testable import Cloacina

/// How often calls have a queue looked at.
@Suite struct WakeupLimiterTests {
    private let start = ContinuousClock.now

    @Test func aBurstIsLookedAfterAtOnceAndTheRestTogetherOnce() {
        var limiter = WakeupLimiter(perSecond: 50, burst: 3)
        for _ in 0..<3 { #expect(limiter.call(at: self.start) == .now) }
        #expect(limiter.call(at: self.start) == .at(self.start + .milliseconds(20)))
        for _ in 0..<100 { #expect(limiter.call(at: self.start + .milliseconds(19)) == .swallowed) }
    }

    @Test func aCallAfterTheLookThatWasPutOffIsPutOffItself() {
        var limiter = WakeupLimiter(perSecond: 50, burst: 1)
        #expect(limiter.call(at: self.start) == .now)
        #expect(limiter.call(at: self.start) == .at(self.start + .milliseconds(20)))
        #expect(limiter.call(at: self.start + .milliseconds(20)) == .at(self.start + .milliseconds(40)))
    }

    @Test func aQuietTimeFillsTheBucketButNotMoreThanThat() {
        var limiter = WakeupLimiter(perSecond: 50, burst: 2)
        for _ in 0..<2 { #expect(limiter.call(at: self.start) == .now) }
        let later = self.start + .seconds(3_600)
        for _ in 0..<2 { #expect(limiter.call(at: later) == .now) }
        #expect(limiter.call(at: later) == .at(later + .milliseconds(20)))
    }

    @Test func noCallIsLostAndTheRateIsKept() {
        var limiter = WakeupLimiter(perSecond: 50, burst: 10)
        var generator = SystemRandomNumberGenerator()
        var now = self.start
        var looks: [ContinuousClock.Instant] = []
        var last = now
        while now < self.start + .seconds(10) {
            now += .microseconds(Int64.random(in: 0..<3_000, using: &generator))
            last = now
            switch limiter.call(at: now) {
            case .now: looks.append(now)
            case .at(let instant):
                #expect(instant > now && instant <= now + .milliseconds(20))
                looks.append(instant)
            case .swallowed: #expect(looks.last.map { $0 > now } ?? false)
            }
        }
        #expect(looks.last.map { $0 >= last } ?? false)
        #expect(looks.count <= 10 + 50 * 10 + 2 && looks.count >= 490)
    }
}
