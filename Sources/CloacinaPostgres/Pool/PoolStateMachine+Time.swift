import HeapModule

// What happens because time passes.

extension PoolStateMachine {
    /// When ``tick(at:)`` has something to do next; `nil` when nothing is due at any time. Costs next to nothing.
    func nextDue() -> Instant? {
        var due = self.deadlines.min?.at
        for candidate in [self.idleDue(), self.expiries.min?.at] {
            if let candidate { due = min(due ?? candidate, candidate) }
        }
        return due
    }

    private func idleDue() -> Instant? {
        guard self.idle.head != Self.none, let since = self.connections[self.idle.head].idleSince else { return nil }
        return since + self.configuration.idleTimeout
    }

    mutating func failOverdueWaiters(at now: Instant, _ actions: inout [Action]) {
        while let due = self.deadlines.min, due.at <= now {
            self.deadlines.removeMin()
            guard let index = self.waiterIndex[due.subject] else { continue }
            self.fail(index, .deadlineExceeded, &actions)
        }
    }

    mutating func closeOverdueConnections(at now: Instant, _ actions: inout [Action]) {
        while let due = self.expiries.min, due.at <= now {
            self.expiries.removeMin()
            // A leased connection is looked at when it comes back.
            guard let slot = self.slot(of: due.subject), self.connections[slot].phase == .idle else { continue }
            self.close(slot, .age, &actions)
        }
        while let due = self.idleDue(), due <= now {
            self.close(self.idle.head, .idle, &actions)
        }
    }

    mutating func scheduleDeadline(of waiter: WaiterID, at deadline: Instant) {
        self.deadlines.insert(Due(at: deadline, subject: waiter))
        if self.deadlines.count > 2 * self.waiterIndex.count + 64 {
            self.deadlines = Heap(self.deadlines.unordered.filter { self.waiterIndex[$0.subject] != nil })
        }
    }

    mutating func dropOutdatedDeadlines() {
        while let due = self.deadlines.min, self.waiterIndex[due.subject] == nil { self.deadlines.removeMin() }
    }

    mutating func scheduleExpiry(of connection: ConnectionID, at expiry: Instant) {
        self.expiries.insert(Due(at: expiry, subject: connection))
        if self.expiries.count > 2 * self.configuration.maximumConnections + 64 {
            self.expiries = Heap(self.expiries.unordered.filter { self.slot(of: $0.subject) != nil })
        }
    }

    mutating func dropOutdatedExpiries() {
        while let due = self.expiries.min, self.slot(of: due.subject) == nil { self.expiries.removeMin() }
    }
}
