import Glibc

/// Decides how many pipelines a runner claims from the queue: what can begin soon, so that others get the rest and what is
/// urgent is not behind what was claimed long before.
///
/// That is as many as there are free slots, and a margin so that no slot waits for a claim: half the number of slots, and
/// where pipelines are short, as many as end in 100 ms.
struct AdmissionStateMachine {
    /// What to do when a call comes and the runner has its fill.
    enum UrgentLook: Equatable {
        /// Claim at most so many, of a higher priority only.
        case claim(limit: Int, above: Int)
        /// Ask again at that instant: there was a look just now.
        case later(ContinuousClock.Instant)
        /// The runner has its fill of what is urgent too, or nothing that waits for a slot: what ends makes place.
        case none
    }

    /// How many pipelines a runner has at most that neither wait for others nor for the time of a retry.
    let maximumClaimed: Int
    private let slots: Int
    private let byteLimit: Int
    private let heldByteLimit: Int

    private(set) var claimed = 0
    /// How many of them were claimed and have not asked for a slot yet.
    private var arriving = 0
    private(set) var retrying = 0
    private var waiting = 0
    /// The bytes of the inputs of those that have not begun.
    private var bytes = 0
    /// The bytes of the inputs of all, those that wait for others or for the time of a retry included.
    private var heldBytes = 0
    private var ends = CompletionRate()
    private var lastUrgentLook: ContinuousClock.Instant?

    /// - Parameters:
    ///   - slots: How many tasks may run at the same time.
    ///   - byteLimit: How many bytes of inputs are claimed ahead: 4 MiB, which take about eight times as much while they are read.
    ///   - heldByteLimit: How many bytes of inputs are held in all: 64 MiB. Beyond that only children of what waits are claimed, or,
    ///     when nothing here can go on, one pipeline at a time; beyond four times as many, one child at a time.
    init(maximumClaimed: Int, slots: Int, byteLimit: Int = 4 << 20, heldByteLimit: Int = 64 << 20) {
        self.maximumClaimed = max(1, maximumClaimed)
        self.slots = max(1, slots)
        self.byteLimit = max(0, byteLimit)
        self.heldByteLimit = max(0, heldByteLimit)
    }

    // MARK: Events

    /// Takes note of a claim.
    ///
    /// - Parameter bytes: The size of all their inputs.
    mutating func claimed(_ count: Int, bytes: Int, at now: ContinuousClock.Instant) {
        if self.claimed == 0 { self.ends.begin(at: now) }
        self.claimed += count
        self.arriving += count
        self.bytes += bytes
        self.heldBytes += bytes
    }

    /// Takes note that a pipeline's run has looked for the first time for what it can begin, and from now on has slots, waits
    /// for one, or waits for something else.
    mutating func pipelineArrived() { self.arriving -= 1 }

    /// Takes note that a pipeline's first task begins, or that the pipeline is over before it had one.
    mutating func pipelineBegan(bytes: Int) { self.bytes -= bytes }

    /// Takes note that a pipeline has ended, after it arrived.
    mutating func pipelineEnded(bytes: Int, at now: ContinuousClock.Instant) {
        self.claimed -= 1
        self.heldBytes -= bytes
        self.ends.add(at: now)
    }

    /// Takes note that a pipeline was given back, or stands still: it says nothing about how long pipelines take.
    mutating func pipelineLeft(bytes: Int) {
        self.claimed -= 1
        self.heldBytes -= bytes
    }

    /// Takes note that a pipeline begins, or ends, to wait for nothing but the time of a retry.
    mutating func noteRetrying(_ isRetrying: Bool) { self.retrying += isRetrying ? 1 : -1 }

    /// Takes note that a pipeline begins, or ends, to wait for other pipelines.
    mutating func noteWaiting(_ isWaiting: Bool) { self.waiting += isWaiting ? 1 : -1 }

    // MARK: Decisions

    /// How many pipelines may be claimed.
    ///
    /// - Parameters:
    ///   - freeSlots: How many slots nobody has.
    ///   - waitingForSlots: How many pipelines wait for one.
    func claimLimit(at now: ContinuousClock.Instant, freeSlots: Int, waitingForSlots: Int) -> Int {
        guard self.bytes == 0 || self.bytes < self.byteLimit else { return 0 }
        if self.isFullOfBytes {
            let areOnlyFew = self.waiting == 0 || self.heldBytes / 2 >= self.heldByteLimit
            if areOnlyFew { return self.isStalled && (self.waiting > 0 || self.mayClaimOneMore) ? 1 : 0 }
        }
        let wanted = self.ahead(at: now, freeSlots: freeSlots) - self.arriving - max(0, waitingForSlots)
        return max(0, min(wanted, self.maximumClaimed - self.load))
    }

    /// Whether so much may be claimed that it is worth a statement: half of what there is place for, so that claims are few
    /// and full.
    func isClaimDue(at now: ContinuousClock.Instant, freeSlots: Int, waitingForSlots: Int) -> Bool {
        let limit = self.claimLimit(at: now, freeSlots: freeSlots, waitingForSlots: waitingForSlots)
        let place = min(self.ahead(at: now, freeSlots: freeSlots), self.maximumClaimed)
        return limit > 0 && (limit >= (place + 1) / 2 || self.isFullOfBytes)
    }

    /// How many bytes of inputs the next claim may have. It takes one pipeline at least, however large.
    var claimByteLimit: Int { max(0, self.byteLimit - self.bytes) }

    /// True when so many pipelines wait for others, or with so large inputs, that only their children may be claimed, without which
    /// they would wait for ever.
    var mayClaimOnlyChildren: Bool { self.waiting >= self.idleLimit || self.isFullOfBytes && self.waiting > 0 }

    /// True when as many bytes are held as may be, and none of them by what can go on.
    var isStalled: Bool { self.isFullOfBytes && self.load <= 0 }

    /// Takes note of something; true when the queue must be looked at for it: what is no child was passed over until now, or nothing
    /// here can go on.
    mutating func opensQueue(_ note: (inout Self) -> Void) -> Bool {
        let tookOnlyChildren = self.mayClaimOnlyChildren
        note(&self)
        return tookOnlyChildren && !self.mayClaimOnlyChildren || self.isStalled
    }

    /// True when one that is no child may be claimed although there is no child: what waits may wait for what is none.
    var mayClaimOneMore: Bool { self.isStalled && self.heldBytes / 4 < self.heldByteLimit }

    /// True when as many bytes are held as may be.
    private var isFullOfBytes: Bool { self.heldBytes > 0 && self.heldBytes >= self.heldByteLimit }

    /// Decides about a call when ``claimLimit(at:freeSlots:waitingForSlots:)`` is 0: what is more urgent than all that waits
    /// here need not wait for it, at most once in 100 ms.
    ///
    /// - Parameter highestWaitingPriority: The highest priority of what waits for a slot.
    mutating func urgentLook(at now: ContinuousClock.Instant, highestWaitingPriority: Int?) -> UrgentLook {
        // As many above the maximum as can run at once; after that the urgent ones wait like others.
        let limit = min(self.slots, self.maximumClaimed + self.slots - self.load)
        guard limit > 0, !self.isFullOfBytes, let highestWaitingPriority, highestWaitingPriority < .max else {
            return .none
        }
        if let last = self.lastUrgentLook, now < last + .milliseconds(100) { return .later(last + .milliseconds(100)) }
        self.lastUrgentLook = now
        return .claim(limit: limit, above: highestWaitingPriority)
    }

    /// How many pipelines take up a place. Those that wait for others don't, for these may be in the queue; those that only
    /// wait for the time of a retry don't as far as the memory for them is bounded.
    var load: Int { self.claimed - self.waiting - min(self.retrying, self.idleLimit) }

    /// How many pipelines may wait for others, and as many for the time of a retry: fifteen times the maximum.
    private var idleLimit: Int {
        let (limit, isMore) = self.maximumClaimed.multipliedReportingOverflow(by: 15)
        return isMore ? .max : limit
    }

    /// How many pipelines there should be that can begin, or wait to.
    private func ahead(at now: ContinuousClock.Instant, freeSlots: Int) -> Int {
        let soon = min(self.ends.perSecond(at: now) / 10, Double(self.maximumClaimed))
        return max(0, freeSlots) + max((self.slots + 1) / 2, Int(exactly: soon.rounded(.down)) ?? 0)
    }
}

/// How many pipelines end in a second: each end counts half after a second.
private struct CompletionRate {
    private var weight = 0.0
    private var last: ContinuousClock.Instant?
    /// Since when there was something that could end.
    private var start: ContinuousClock.Instant?

    /// Begins anew, after at least a second in which nothing ended.
    mutating func begin(at now: ContinuousClock.Instant) {
        if let last = self.last ?? self.start, last.duration(to: now) < .seconds(1) { return }
        self.weight = 0
        self.last = nil
        self.start = now
    }

    mutating func add(at now: ContinuousClock.Instant) {
        self.weight = self.weight(at: now) + 1
        self.last = max(now, self.last ?? now)
    }

    func perSecond(at now: ContinuousClock.Instant) -> Double {
        guard let start = self.start else { return 0 }
        // What a steady rate of one would have come to since the start.
        let age = max(0.05, start.duration(to: now).seconds)
        return self.weight(at: now) / ((1 - exp2(-age)) / log(2))
    }

    private func weight(at now: ContinuousClock.Instant) -> Double {
        guard let last = self.last else { return 0 }
        return self.weight * exp2(-max(0, last.duration(to: now).seconds))
    }
}
