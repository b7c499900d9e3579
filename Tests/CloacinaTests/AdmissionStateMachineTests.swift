import FoundationEssentials
import Testing

@testable import Cloacina

/// How many pipelines a runner claims.
@Suite struct AdmissionStateMachineTests {
    private let start = ContinuousClock.now

    private func at(_ seconds: Double) -> ContinuousClock.Instant { self.start + .seconds(seconds) }

    /// A runner of sixteen slots that has claimed so many pipelines of one task each.
    private func machine(claimed: Int, slots: Int = 16, maximum: Int = 256) -> AdmissionStateMachine {
        var machine = AdmissionStateMachine(maximumClaimed: maximum, slots: slots)
        machine.claimed(claimed, bytes: 0, at: self.start)
        for _ in 0..<claimed { machine.pipelineArrived() }
        return machine
    }

    @Test func anIdleRunnerClaimsItsSlotsAndHalfAsManyMore() {
        let machine = AdmissionStateMachine(maximumClaimed: 256, slots: 16)
        #expect(machine.claimLimit(at: self.start, freeSlots: 16, waitingForSlots: 0) == 24)
        let small = AdmissionStateMachine(maximumClaimed: 4, slots: 16)
        #expect(small.claimLimit(at: self.start, freeSlots: 16, waitingForSlots: 0) == 4)
        let single = AdmissionStateMachine(maximumClaimed: 256, slots: 1)
        #expect(single.claimLimit(at: self.start, freeSlots: 1, waitingForSlots: 0) == 2)
    }

    @Test func whatWasJustClaimedCountsUntilItHasAskedForASlot() {
        var machine = AdmissionStateMachine(maximumClaimed: 256, slots: 16)
        machine.claimed(24, bytes: 0, at: self.start)
        #expect(machine.claimLimit(at: self.start, freeSlots: 16, waitingForSlots: 0) == 0)
        for _ in 0..<24 { machine.pipelineArrived() }
        #expect(machine.claimLimit(at: self.start, freeSlots: 0, waitingForSlots: 8) == 0)
    }

    @Test(arguments: [0.5, 1.0, 600.0]) func longPipelinesAreNotHoarded(_ duration: Double) {
        var machine = AdmissionStateMachine(maximumClaimed: 256, slots: 16)
        var held = 0
        for round in 0..<10 {
            let now = self.at(Double(round) * duration)
            if round > 0 {
                for _ in 0..<16 { machine.pipelineEnded(bytes: 0, at: now) }
                held -= 16
            }
            let limit = machine.claimLimit(
                at: now, freeSlots: max(0, 16 - held), waitingForSlots: max(0, held - 16))
            machine.claimed(limit, bytes: 0, at: now)
            for _ in 0..<limit { machine.pipelineArrived() }
            held += limit
            #expect(held >= 16 && held <= 24)
        }
    }

    @Test func shortPipelinesAreClaimedByTheHundred() {
        var machine = AdmissionStateMachine(maximumClaimed: 256, slots: 16)
        var seconds = 0.0
        var limits: [Int] = []
        while seconds < 0.2 {
            let limit = machine.claimLimit(at: self.at(seconds), freeSlots: 16, waitingForSlots: 0)
            limits.append(limit)
            machine.claimed(limit, bytes: 0, at: self.at(seconds))
            for _ in 0..<limit { machine.pipelineArrived() }
            seconds += 0.001 + Double(limit) / 20_000
            for _ in 0..<limit { machine.pipelineEnded(bytes: 0, at: self.at(seconds)) }
        }
        #expect(limits.first == 24 && limits.last == 256)
        #expect(limits.firstIndex(of: 256).map { $0 < 10 } ?? false)
        // Nothing for a while, and the next may be long.
        #expect(machine.claimLimit(at: self.at(20), freeSlots: 16, waitingForSlots: 0) == 24)
    }

    @Test func claimsAreFewAndFull() {
        let machine = self.machine(claimed: 20)
        let isDue = { machine.isClaimDue(at: self.start, freeSlots: 0, waitingForSlots: $0) }
        #expect(!isDue(8) && !isDue(7) && !isDue(5) && isDue(4) && isDue(0))
        let full = self.machine(claimed: 256)
        #expect(!full.isClaimDue(at: self.start, freeSlots: 16, waitingForSlots: 0))
    }

    @Test func whatWaitsForTheTimeOfARetryTakesUpNoPlaceWithinBounds() {
        var machine = self.machine(claimed: 256 * 16)
        let limit = { machine.claimLimit(at: self.start, freeSlots: 16, waitingForSlots: 0) }
        #expect(limit() == 0)
        for _ in 0..<(256 * 15) { machine.noteRetrying(true) }
        #expect(limit() == 0)
        machine.pipelineLeft(bytes: 0)
        #expect(limit() == 1)
        for _ in 0..<100 { machine.noteRetrying(true) }
        #expect(limit() == 1)
        #expect(!machine.mayClaimOnlyChildren)
    }

    @Test func parentsThatWaitLeaveOnlyTheirChildrenToClaim() {
        var machine = self.machine(claimed: 256 * 15)
        for _ in 0..<(256 * 15 - 1) { machine.noteWaiting(true) }
        #expect(!machine.mayClaimOnlyChildren)
        machine.noteWaiting(true)
        #expect(machine.mayClaimOnlyChildren)
        #expect(machine.claimLimit(at: self.start, freeSlots: 16, waitingForSlots: 0) == 24)
        machine.noteWaiting(false)
        #expect(!machine.mayClaimOnlyChildren)
    }

    @Test func theLargestNumberIsNoLimit() {
        var machine = self.machine(claimed: 1_000, maximum: .max)
        for _ in 0..<1_000 { machine.noteRetrying(true) }
        #expect(machine.claimLimit(at: self.start, freeSlots: 16, waitingForSlots: 0) == 24)
    }

    @Test func inputsAreClaimedByTheirSize() {
        var machine = AdmissionStateMachine(maximumClaimed: 256, slots: 16, byteLimit: 1_000)
        #expect(machine.claimByteLimit == 1_000)
        machine.claimed(2, bytes: 900, at: self.start)
        #expect(machine.claimByteLimit == 100)
        machine.claimed(1, bytes: 400, at: self.start)
        #expect(machine.claimByteLimit == 0)
        #expect(machine.claimLimit(at: self.start, freeSlots: 16, waitingForSlots: 0) == 0)
        machine.pipelineBegan(bytes: 900)
        #expect(machine.claimByteLimit == 600)
        #expect(machine.claimLimit(at: self.start, freeSlots: 16, waitingForSlots: 0) == 21)
    }

    /// What waits takes up no place, but memory.
    @Test func inputsAreHeldUpToASizeWhateverTheirPipelinesWaitFor() {
        var machine = AdmissionStateMachine(maximumClaimed: 256, slots: 16, heldByteLimit: 1_000)
        let limit = { machine.claimLimit(at: self.start, freeSlots: 16, waitingForSlots: 0) }
        for _ in 0..<10 {
            #expect(limit() == 24 && !machine.mayClaimOnlyChildren)
            machine.claimed(1, bytes: 100, at: self.start)
            machine.pipelineArrived()
            machine.pipelineBegan(bytes: 100)
            machine.noteRetrying(true)
        }
        // Nothing here can go on, so there is always one that can, up to four times as much.
        #expect(limit() == 1 && machine.urgentLook(at: self.start, highestWaitingPriority: 0) == .none)
        machine.claimed(1, bytes: 100, at: self.start)
        #expect(limit() == 0)
        machine.pipelineArrived()
        machine.pipelineBegan(bytes: 100)
        machine.noteRetrying(true)
        #expect(limit() == 1)
        machine.claimed(1, bytes: 2_900, at: self.start)
        machine.pipelineArrived()
        machine.pipelineBegan(bytes: 2_900)
        machine.noteRetrying(true)
        #expect(limit() == 0)
        for bytes in [2_900, 100, 100] {
            machine.noteRetrying(false)
            machine.pipelineEnded(bytes: bytes, at: self.start)
        }
        #expect(limit() > 1)
    }

    /// Without their children they would wait for ever, however large those are.
    @Test func childrenOfLargeParentsAreClaimedOneAtATimeAtLast() {
        var machine = AdmissionStateMachine(maximumClaimed: 256, slots: 16, heldByteLimit: 1_000)
        let limit = { machine.claimLimit(at: self.start, freeSlots: 16, waitingForSlots: 0) }
        func claim() {
            machine.claimed(1, bytes: 1_000, at: self.start)
            machine.pipelineArrived()
            machine.pipelineBegan(bytes: 1_000)
        }
        claim()
        #expect(limit() == 0)
        machine.noteWaiting(true)
        #expect(limit() == 24 && machine.mayClaimOnlyChildren)
        claim()
        #expect(limit() == 0)
        machine.noteWaiting(true)
        // They may wait for what is no child of theirs.
        #expect(machine.mayClaimOneMore)
        #expect(limit() == 1 && machine.isClaimDue(at: self.start, freeSlots: 16, waitingForSlots: 0))
        claim()
        #expect(limit() == 0)
        machine.pipelineEnded(bytes: 1_000, at: self.start)
        #expect(limit() == 1)
    }

    @Test func whatIsMoreUrgentIsLookedForNowAndThen() {
        var machine = self.machine(claimed: 24)
        #expect(machine.urgentLook(at: self.at(0), highestWaitingPriority: nil) == .none)
        #expect(machine.urgentLook(at: self.at(0), highestWaitingPriority: .max) == .none)
        #expect(machine.urgentLook(at: self.at(0), highestWaitingPriority: 3) == .claim(limit: 16, above: 3))
        let again = self.start + .milliseconds(100)
        #expect(machine.urgentLook(at: self.at(0.05), highestWaitingPriority: 3) == .later(again))
        #expect(machine.urgentLook(at: again, highestWaitingPriority: 3) == .claim(limit: 16, above: 3))
    }

    @Test func whatIsUrgentHasItsBoundsToo() {
        var machine = self.machine(claimed: 256 + 10)
        #expect(machine.urgentLook(at: self.at(0), highestWaitingPriority: 3) == .claim(limit: 6, above: 3))
        machine = self.machine(claimed: 256 + 16)
        #expect(machine.urgentLook(at: self.at(0), highestWaitingPriority: 3) == .none)
    }
}

/// Which pipeline gets a slot first.
@Suite struct SlotOrderTests {
    private let slots = TaskSlots(0)

    /// Gives slots back one by one, and says which of the mailboxes gets each.
    private func order(_ mailboxes: [Mailbox]) -> [Int] {
        mailboxes.indices.compactMap { _ in
            self.slots.give(1)
            return mailboxes.firstIndex { !$0.takeNow().isEmpty }
        }
    }

    @Test func whoSaysNothingElseIsServedInTheOrderOfArrival() {
        let mailboxes = (0..<100).map { _ in Mailbox() }
        for mailbox in mailboxes { self.slots.wait(mailbox) }
        #expect(self.slots.waitingCount == 100)
        #expect(self.order(mailboxes) == Array(0..<100))
        #expect(self.slots.waitingCount == 0 && self.slots.freeCount == 0)
    }

    @Test func priorityComesBeforeAgeAndAgeBeforeArrival() {
        let mailboxes = (0..<5).map { _ in Mailbox() }
        let date = Date(timeIntervalSince1970: 1_790_000_000)
        for (mailbox, (priority, age)) in zip(mailboxes, [(0, 0.0), (5, -1), (0, 9), (5, 3), (0, 9)]) {
            self.slots.wait(mailbox, priority: priority, since: date.addingTimeInterval(-age))
        }
        #expect(self.slots.highestWaitingPriority == 5)
        #expect(self.order(mailboxes) == [3, 1, 2, 4, 0])
        #expect(self.slots.highestWaitingPriority == nil)
    }

    @Test func whoWithdrawsGetsNoneAndIsNotHeldFast() {
        weak var withdrawn: Mailbox?
        let mailboxes = (0..<3).map { _ in Mailbox() }
        for mailbox in mailboxes { self.slots.wait(mailbox, priority: 1) }
        for index in 0..<1_000 {
            let mailbox = Mailbox()
            self.slots.wait(mailbox, priority: .random(in: 0...2))
            self.slots.withdraw(mailbox)
            if index == 0 { withdrawn = mailbox }
        }
        #expect(withdrawn == nil && self.slots.waitingCount == 3 && self.slots.highestWaitingPriority == 1)
        self.slots.withdraw(mailboxes[1])
        #expect(self.order(mailboxes) == [0, 2])
        #expect(self.slots.freeCount == 1)
    }
}
