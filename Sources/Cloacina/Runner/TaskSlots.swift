import DequeModule
import Synchronization

/// How many tasks of a runner may run at the same time, shared by its pipelines in the order in which they asked.
final class TaskSlots: Sendable {
    private struct State {
        var free: Int
        var waiting: Deque<Mailbox> = []
    }
    private let state: Mutex<State>
    private let mail: Mailbox.Mail

    /// - Parameter mail: What tells a pipeline that waits that a slot is its own now.
    init(_ count: Int, mail: Mailbox.Mail = .slot) {
        self.mail = mail
        self.state = Mutex(State(free: count))
    }

    /// Takes as many slots as there are, up to a number; none while another pipeline waits.
    func take(upTo count: Int) -> Int {
        self.state.withLock { state in
            guard state.waiting.isEmpty else { return 0 }
            let taken = max(0, min(count, state.free))
            state.free -= taken
            return taken
        }
    }

    /// Gives slots back; the pipelines that wait get them first, one each, as ``Mailbox/Mail/slot``.
    func give(_ count: Int) {
        guard count > 0 else { return }
        self.state.withLock { state in
            for _ in 0..<count {
                if state.waiting.isEmpty || state.free < 0 {
                    state.free += 1
                } else {
                    state.waiting.removeFirst().post(self.mail)
                }
            }
        }
    }

    /// Asks for one slot, which may come at once.
    func wait(_ mailbox: Mailbox) {
        self.state.withLock { state in
            if state.free > 0 && state.waiting.isEmpty {
                state.free -= 1
                mailbox.post(self.mail)
            } else {
                state.waiting.append(mailbox)
            }
        }
    }

    /// Takes back a slot that was lent, even when none is free.
    func takeBack() {
        self.state.withLock { $0.free -= 1 }
    }

    /// Asks no longer. A slot that came before is in the mailbox.
    func withdraw(_ mailbox: Mailbox) {
        self.state.withLock { $0.waiting.removeAll { $0 === mailbox } }
    }
}

/// The slot of one attempt, which is given back once, whoever is first to say so.
final class HeldSlot: Sendable {
    /// The slot of the task that runs.
    @TaskLocal static var current: HeldSlot?

    private struct State {
        var isReleased = false
        /// How many calls wait for another pipeline at the moment.
        var waiting = 0
        var isLent = false
        var isQuarantineLent = false
    }

    private let slots: TaskSlots
    /// The one place among pipelines that processes died of, when the task's pipeline has it: what the task waits for may need
    /// it.
    private let quarantine: TaskSlots?
    private let lending: Lending?
    private let state = Mutex(State())

    init(_ slots: TaskSlots, quarantine: TaskSlots? = nil, lending: Lending? = nil) {
        self.slots = slots
        self.quarantine = quarantine
        self.lending = lending
    }

    func release() {
        let (wasHeld, mustTakeBack) = self.state.withLock { state in
            defer {
                state.isReleased = true
                state.isQuarantineLent = false
            }
            return (!state.isReleased && state.waiting == 0, state.isQuarantineLent)
        }
        // The pipeline gives it up itself.
        if mustTakeBack { self.quarantine?.takeBack() }
        if wasHeld { self.slots.give(1) }
    }

    /// Lends the slot to others while a task only waits for other pipelines of its runner, for however many at the same time.
    func lend<R>(_ body: () async -> R) async -> R {
        let isFirst = self.state.withLock { state in
            state.waiting += 1
            guard state.waiting == 1, !state.isReleased else { return false }
            state.isLent = true
            state.isQuarantineLent = self.quarantine != nil
            return true
        }
        if isFirst {
            self.lending?.begin()
            self.slots.give(1)
            self.quarantine?.give(1)
        }
        defer {
            let (isLast, isReleased, mustTakeBack) = self.state.withLock { state in
                state.waiting -= 1
                guard state.waiting == 0, state.isLent else { return (false, false, false) }
                defer { state.isQuarantineLent = false }
                state.isLent = false
                return (true, state.isReleased, state.isQuarantineLent)
            }
            if isLast { self.lending?.end() }
            if isLast, !isReleased { self.slots.takeBack() }
            if mustTakeBack { self.quarantine?.takeBack() }
        }
        return await body()
    }
}
