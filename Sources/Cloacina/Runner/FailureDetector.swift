import FoundationEssentials

/// Decides which other runners have died, from the numbers of their heartbeats.
///
/// A runner is dead when its number has stood still for the duration of a lease, and was seen to in at least three looks of
/// which none came later than half a lease after the one before. A look that comes later proves nothing about the time before
/// it, in which the database may have been away, or this process stopped: the count begins again for everybody. So a runner
/// that beats four times in the duration of a lease has had its chance to.
///
/// Where nothing can be written nobody beats, and the looks are answered all the same. So nobody is dead before half a lease in which
/// whatever was written to prove it was stored.
///
/// A runner is found dead at most two leases after its last heartbeat when the looks come when they should.
struct FailureDetector {
    struct Verdict {
        /// Who has died, with the number at which its heartbeat stands, in a fixed order; again with each look until it is
        /// forgotten or no longer seen.
        var dead: [(runner: UUID, heartbeat: Int)] = []
        /// True when somebody's number stands still, so that it must be proven that one can beat; see
        /// ``FailureDetector/noteWrite(succeeded:at:)``.
        var needsProof = false
        /// After what time to look again; nil when there is nobody to look at.
        var nextLook: Duration?
    }

    private struct Known {
        let heartbeat: Int
        let since: ContinuousClock.Instant
        /// How often the number was seen, this time included.
        var looks = 1
    }

    /// How long a runner's number may stand still.
    let leaseDuration: Duration
    private var known: [UUID: Known] = [:]
    private var lastLook: ContinuousClock.Instant?
    /// Since when all writes that were to prove it have been stored; nil while nobody's number stands still.
    private var writableSince: ContinuousClock.Instant?

    /// How late a look may come after the one before and still prove something about the time between: half a lease, and a second
    /// where leases are shorter than anybody's clock should be trusted with.
    private var longestGap: Duration {
        self.leaseDuration < Self.shortest ? .clamped(seconds: .infinity) : max(self.leaseDuration / 2, .seconds(1))
    }

    /// The shortest lease that a runner may have. With a shorter one, as tests have it, who is seen twice with one number is dead.
    private static let shortest: Duration = .milliseconds(2)

    /// - Parameter leaseDuration: How long a runner's number may stand still; with zero, everybody is dead at the first look.
    init(leaseDuration: Duration) {
        self.leaseDuration = max(.zero, leaseDuration)
    }

    /// Whether one of the runners has never said anything: its number is 0, and the next look must be one that finds those.
    var knowsSilentOwners: Bool { self.known.values.contains { $0.heartbeat == 0 } }

    /// Takes note of a look at everybody else's heartbeats.
    ///
    /// - Parameters:
    ///   - heartbeats: The number of each runner's last heartbeat; 0 for an owner that never said anything.
    ///   - now: When the answer was there.
    mutating func look(_ heartbeats: [UUID: Int], at now: ContinuousClock.Instant) -> Verdict {
        let isInTime = self.lastLook.map { $0.duration(to: now) <= self.longestGap } ?? false
        let before = self.known
        self.lastLook = now
        self.known = [:]
        var verdict = Verdict()
        var isQuiet = true
        for (runner, heartbeat) in heartbeats {
            var entry = Known(heartbeat: heartbeat, since: now)
            let known = before[runner]
            if known?.heartbeat == heartbeat || known == nil { isQuiet = false }
            if isInTime, let known, known.heartbeat == heartbeat {
                entry = known
                entry.looks += 1
            }
            self.known[runner] = entry
            if entry.looks > 1 { verdict.needsProof = true }
            if self.isDead(entry, at: now) { verdict.dead.append((runner, heartbeat)) }
        }
        verdict.dead.sort { $0.runner < $1.runner }
        if !verdict.needsProof { self.writableSince = nil }
        if !heartbeats.isEmpty {
            let pause = isQuiet ? self.leaseDuration * 9 / 20 : self.leaseDuration / 3
            verdict.nextLook = max(pause, .milliseconds(1))
        }
        return verdict
    }

    /// Takes note that a look brought no answer: the count begins again for everybody.
    mutating func lookFailed() {
        self.lastLook = nil
    }

    /// Takes note of a write that was to prove that runners can beat.
    mutating func noteWrite(succeeded: Bool, at now: ContinuousClock.Instant) {
        self.writableSince = succeeded ? self.writableSince ?? now : nil
    }

    /// Forgets a runner whose pipelines were taken over.
    mutating func forget(_ runner: UUID) {
        self.known[runner] = nil
    }

    private func isDead(_ known: Known, at now: ContinuousClock.Instant) -> Bool {
        guard self.leaseDuration > .zero else { return true }
        let isShort = self.leaseDuration < Self.shortest
        let couldBeat = self.writableSince.map { $0.duration(to: now) >= self.leaseDuration / 2 } ?? false
        return (isShort || couldBeat) && known.looks >= (isShort ? 2 : 3)
            && known.since.duration(to: now) >= self.leaseDuration
    }
}
