import FoundationEssentials
import Synchronization

/// How many tasks of a runner may run at the same time, shared by its pipelines: by priority, then by the pipelines' age,
/// then in the order in which they asked.
final class TaskSlots: Sendable {
    private struct State {
        var free: Int
        var queue = SlotQueue()
    }
    private let state: Mutex<State>
    private let mail: Mailbox.Mail

    /// - Parameter mail: What tells a pipeline that waits that a slot is its own now.
    init(_ count: Int, mail: Mailbox.Mail = .slot) {
        self.mail = mail
        self.state = Mutex(State(free: count))
    }

    /// How many slots nobody has; none when more are taken than there are.
    var freeCount: Int { self.state.withLock { max(0, $0.free) } }

    /// How many pipelines wait for a slot.
    var waitingCount: Int { self.state.withLock { $0.queue.count } }

    /// The highest priority among the pipelines that wait.
    var highestWaitingPriority: Int? { self.state.withLock { $0.queue.highestPriority } }

    /// Takes as many slots as there are, up to a number; none while another pipeline waits.
    func take(upTo count: Int) -> Int {
        self.state.withLock { state in
            guard state.queue.count == 0 else { return 0 }
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
                if state.free >= 0, let first = state.queue.popFirst() {
                    first.post(self.mail)
                } else {
                    state.free += 1
                }
            }
        }
    }

    /// Asks for one slot, which may come at once. A pipeline asks for one at a time: who asks again waits anew.
    ///
    /// - Parameters:
    ///   - priority: Who has a higher one gets a slot first.
    ///   - since: How old the pipeline is. Of equal priority, the oldest gets a slot first.
    func wait(_ mailbox: Mailbox, priority: Int = 0, since: Date = .distantPast) {
        self.state.withLock { state in
            if state.free > 0 && state.queue.count == 0 {
                state.free -= 1
                mailbox.post(self.mail)
            } else {
                state.queue.insert(mailbox, priority: priority, since: since)
            }
        }
    }

    /// Takes back a slot that was lent, even when none is free.
    func takeBack() {
        self.state.withLock { $0.free -= 1 }
    }

    /// Asks no longer. A slot that came before is in the mailbox.
    func withdraw(_ mailbox: Mailbox) {
        self.state.withLock { $0.queue.remove(mailbox) }
    }
}

/// Who waits for a slot, whoever is next first: a binary heap, where what was withdrawn stays until it comes up or outnumbers
/// the rest.
private struct SlotQueue {
    private struct Entry {
        let mailbox: Mailbox
        let priority: Int
        let since: Date
        /// The order of arrival, which no two share.
        let number: Int

        func precedes(_ other: Entry) -> Bool {
            if self.priority != other.priority { return self.priority > other.priority }
            if self.since != other.since { return self.since < other.since }
            return self.number < other.number
        }
    }

    /// The first is never one that was withdrawn.
    private var heap: [Entry] = []
    /// The number under which each mailbox waits.
    private var waiting: [ObjectIdentifier: Int] = [:]
    private var arrivals = 0

    var count: Int { self.waiting.count }

    var highestPriority: Int? { self.heap.first?.priority }

    mutating func insert(_ mailbox: Mailbox, priority: Int, since: Date) {
        self.arrivals += 1
        self.waiting[ObjectIdentifier(mailbox)] = self.arrivals
        self.heap.append(Entry(mailbox: mailbox, priority: priority, since: since, number: self.arrivals))
        self.siftUp(self.heap.count - 1)
        self.dropWithdrawn()
    }

    mutating func popFirst() -> Mailbox? {
        guard let first = self.heap.first else { return nil }
        self.removeFirst()
        self.waiting[ObjectIdentifier(first.mailbox)] = nil
        self.dropWithdrawn()
        return first.mailbox
    }

    mutating func remove(_ mailbox: Mailbox) {
        guard self.waiting.removeValue(forKey: ObjectIdentifier(mailbox)) != nil else { return }
        self.dropWithdrawn()
    }

    private func isWaiting(_ entry: Entry) -> Bool {
        self.waiting[ObjectIdentifier(entry.mailbox)] == entry.number
    }

    private mutating func dropWithdrawn() {
        if self.heap.count > 2 * self.waiting.count + 32 {
            self.heap = self.heap.filter(self.isWaiting)
            for index in stride(from: self.heap.count / 2 - 1, through: 0, by: -1) { self.siftDown(index) }
        }
        while let first = self.heap.first, !self.isWaiting(first) { self.removeFirst() }
    }

    private mutating func removeFirst() {
        self.heap.swapAt(0, self.heap.count - 1)
        self.heap.removeLast()
        self.siftDown(0)
    }

    private mutating func siftUp(_ start: Int) {
        var index = start
        while index > 0 {
            let parent = (index - 1) / 2
            guard self.heap[index].precedes(self.heap[parent]) else { return }
            self.heap.swapAt(index, parent)
            index = parent
        }
    }

    private mutating func siftDown(_ start: Int) {
        var index = start
        while true {
            var least = index
            for child in (2 * index + 1)...(2 * index + 2)
            where child < self.heap.count && self.heap[child].precedes(self.heap[least]) {
                least = child
            }
            guard least != index else { return }
            self.heap.swapAt(index, least)
            index = least
        }
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
