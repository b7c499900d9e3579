import FoundationEssentials
import Testing

@testable import Cloacina

/// Who is taken for dead, and when.
@Suite struct FailureDetectorTests {
    private let start = ContinuousClock.now
    private let lease = Duration.seconds(20)
    private let runner = UUID()

    private func at(_ seconds: Double) -> ContinuousClock.Instant { self.start + .seconds(seconds) }

    /// Looks at one runner's number at each of some times, and says at which it was dead.
    private func deaths(_ looks: [(Double, Int)]) -> [Double] {
        var detector = FailureDetector(leaseDuration: self.lease)
        return looks.filter { !detector.provenLook([self.runner: $0.1], at: self.at($0.0)).dead.isEmpty }.map(\.0)
    }

    @Test func aNumberThatStandsStillForALeaseIsADeath() {
        #expect(self.deaths([(0, 7), (7, 7), (14, 7), (19.9, 7), (20, 7), (25, 7)]) == [20, 25])
    }

    @Test func anOwnerThatNeverSaidAnythingIsLikeAnyOther() {
        #expect(self.deaths([(0, 0), (7, 0), (14, 0), (21, 0)]) == [21])
        var detector = FailureDetector(leaseDuration: self.lease)
        _ = detector.look([self.runner: 0], at: self.start)
        #expect(detector.knowsSilentOwners)
        _ = detector.look([self.runner: 1], at: self.at(7))
        #expect(!detector.knowsSilentOwners)
    }

    @Test func aNumberThatChangesIsALife() {
        #expect(self.deaths([(0, 1), (7, 1), (14, 1), (19, 2), (21, 2), (28, 2), (35, 2), (38, 2), (39, 2)]) == [39])
    }

    @Test func twoLooksAreNotEnough() {
        #expect(self.deaths([(0, 7), (20, 7)]) == [])
        #expect(self.deaths([(0, 7), (10, 7), (20, 7)]) == [20])
    }

    @Test func aLateLookBeginsTheCountAgain() {
        // The database was away for 25 s, or this process stopped.
        #expect(self.deaths([(0, 7), (7, 7), (32, 7), (39, 7), (46, 7), (51, 7), (52, 7)]) == [52])
    }

    @Test func aFailedLookBeginsTheCountAgain() {
        var detector = FailureDetector(leaseDuration: self.lease)
        for seconds in [0.0, 7, 14] {
            #expect(detector.provenLook([self.runner: 7], at: self.at(seconds)).dead.isEmpty)
        }
        detector.lookFailed()
        for seconds in [21.0, 28, 35] {
            #expect(detector.provenLook([self.runner: 7], at: self.at(seconds)).dead.isEmpty)
        }
        #expect(detector.provenLook([self.runner: 7], at: self.at(42)).dead.map(\.heartbeat) == [7])
    }

    /// A server that turned read-only: everybody is seen, and nobody can beat.
    @Test func silenceProvesNothingWhileNothingCanBeWritten() {
        var detector = FailureDetector(leaseDuration: self.lease)
        for seconds in stride(from: 0.0, through: 70, by: 7) {
            let verdict = detector.look([self.runner: 7], at: self.at(seconds))
            #expect(verdict.dead.isEmpty && verdict.needsProof == (seconds > 0))
            detector.noteWrite(succeeded: false, at: self.at(seconds))
        }
        // From now on it can: half a lease is more than anybody waits between two heartbeats.
        for seconds in [77.0, 84] { #expect(detector.provenLook([self.runner: 7], at: self.at(seconds)).dead.isEmpty) }
        #expect(!detector.provenLook([self.runner: 7], at: self.at(88)).dead.isEmpty)
    }

    @Test func theDeadAreNamedUntilTheyAreForgotten() {
        var detector = FailureDetector(leaseDuration: self.lease)
        for seconds in [0.0, 7, 14] { _ = detector.provenLook([self.runner: 7], at: self.at(seconds)) }
        #expect(detector.provenLook([self.runner: 7], at: self.at(21)).dead.map(\.runner) == [self.runner])
        #expect(detector.provenLook([self.runner: 7], at: self.at(28)).dead.map(\.runner) == [self.runner])
        detector.forget(self.runner)
        #expect(detector.provenLook([self.runner: 7], at: self.at(35)).dead.isEmpty)
    }

    @Test func withoutALeaseEverybodyIsDeadAtTheFirstLook() {
        var detector = FailureDetector(leaseDuration: .zero)
        let verdict = detector.look([self.runner: 7], at: self.start)
        #expect(verdict.dead.map(\.runner) == [self.runner])
        #expect(verdict.nextLook.map { $0 <= .milliseconds(1) } == true)
        #expect(detector.look([:], at: self.start).nextLook == nil)
    }

    @Test func looksComeMoreOftenWhileSomebodySaysNothing() {
        var detector = FailureDetector(leaseDuration: self.lease)
        #expect(detector.look([:], at: self.at(0)).nextLook == nil)
        #expect(detector.look([self.runner: 1], at: self.at(10)).nextLook == self.lease / 3)
        #expect(detector.look([self.runner: 2], at: self.at(17)).nextLook == .seconds(9))
        #expect(detector.look([self.runner: 3], at: self.at(26)).nextLook == .seconds(9))
        #expect(detector.look([self.runner: 3], at: self.at(35)).nextLook == self.lease / 3)
    }

    /// A made-up world: runners that beat, an outage or a stop of the watcher now and then, and deaths.
    @Test(arguments: 0..<200 as Range<UInt64>) func theLivingLiveAndTheDeadAreFound(_ seed: UInt64) {
        var chance = SplitMix(state: seed)
        var detector = FailureDetector(leaseDuration: self.lease)
        let runners = (0..<4).map { _ in UUID() }
        let death = runners.map { _ in chance.next(in: 100..<900) }
        var beats = runners.map { _ in 1 }
        var nextBeat = runners.map { _ in chance.next(in: 0..<5) }
        var lastBeat = runners.map { _ in 0.0 }
        var found: [UUID: Double] = [:]
        // When the database is away, or (the watcher sees no difference) the watcher stands still.
        var outages: [Range<Double>] = []
        var end = 0.0
        while end < 1_000 {
            // Some are interrupted for a moment, in which the watcher looks and nobody beats.
            let isFlapping = end > 0 && chance.next(in: 0..<1) < 0.4
            let start = end + (isFlapping ? 0.01 : chance.next(in: 30..<200))
            end = start + chance.next(in: isFlapping ? 11..<30 : 1..<60)
            outages.append(start..<end)
        }
        var lastDisturbance = 0.0
        var now = 0.0
        while now < 1_400 {
            let outage = outages.first { $0.contains(now) }
            if let outage {
                // A look that fails at once, or answers when all is over, or is not made at all.
                lastDisturbance = outage.upperBound
                if outages.firstIndex(of: outage).map({ $0 % 3 == 0 }) == true {
                    // Only writes fail.
                    let present = runners.indices.filter { found[runners[$0]] == nil }
                    let verdict = detector.look(
                        Dictionary(uniqueKeysWithValues: present.map { (runners[$0], beats[$0]) }), at: self.at(now))
                    if verdict.needsProof { detector.noteWrite(succeeded: false, at: self.at(now)) }
                } else if chance.next(in: 0..<1) < 0.5 {
                    detector.lookFailed()
                }
                now = min(now + chance.next(in: 1..<10), outage.upperBound)
                continue
            }
            for index in runners.indices {
                while nextBeat[index] <= now, nextBeat[index] < death[index] {
                    let isAway = outages.contains { $0.contains(nextBeat[index]) }
                    if !isAway {
                        beats[index] += 1
                        lastBeat[index] = nextBeat[index]
                    }
                    nextBeat[index] += isAway ? 1 : chance.next(in: 4..<5)
                }
            }
            let present = runners.indices.filter { found[runners[$0]] == nil }
            let verdict = detector.look(
                Dictionary(uniqueKeysWithValues: present.map { (runners[$0], beats[$0]) }), at: self.at(now))
            if verdict.needsProof { detector.noteWrite(succeeded: true, at: self.at(now)) }
            for (runner, heartbeat) in verdict.dead {
                let index = runners.firstIndex(of: runner) ?? 0
                #expect(death[index] <= now && heartbeat == beats[index])
                found[runner] = now
                detector.forget(runner)
            }
            for index in present where found[runners[index]] == nil {
                #expect(now - max(lastBeat[index], lastDisturbance) <= 40 || death[index] > now)
            }
            now += (verdict.nextLook ?? .seconds(60)).seconds * chance.next(in: 1..<1.05)
        }
        #expect(found.count == 4)
    }
}

extension FailureDetector {
    /// A look where everything can be written.
    fileprivate mutating func provenLook(_ heartbeats: [UUID: Int], at now: ContinuousClock.Instant) -> Verdict {
        let verdict = self.look(heartbeats, at: now)
        if verdict.needsProof { self.noteWrite(succeeded: true, at: now) }
        return verdict
    }
}

/// Chance that repeats itself.
private struct SplitMix {
    var state: UInt64

    mutating func next(in range: Range<Double>) -> Double {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var bits = self.state
        bits = (bits ^ (bits >> 30)) &* 0xbf58_476d_1ce4_e5b9
        bits = (bits ^ (bits >> 27)) &* 0x94d0_49bb_1331_11eb
        bits ^= bits >> 31
        return range.lowerBound + (range.upperBound - range.lowerBound) * Double(bits >> 11) / Double(1 << 53)
    }
}
