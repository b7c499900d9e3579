// The life of one connection: opening, idle, leased, closing, gone.

extension PoolStateMachine {
    private static var slotBits: Int { 24 }

    func id(of slot: Int) -> ConnectionID {
        ConnectionID(rawValue: self.connections[slot].generation << Self.slotBits | slot)
    }

    /// Where a connection is, or `nil` when it is already gone.
    func slot(of id: ConnectionID) -> Int? {
        let slot = id.rawValue & (1 << Self.slotBits - 1)
        guard slot < self.connections.count, self.connections[slot].phase != .free,
            self.connections[slot].generation == id.rawValue >> Self.slotBits
        else { return nil }
        return slot
    }

    /// The idle connection for a label: one that has it, else one that has none, else (only when nothing more can be
    /// opened) the one that served it last, whose backend knows the tenant's tables, else the longest idle. Reuse within a
    /// label is last in, first out, so the longest idle is the one whose tenant has been quiet longest, or a spare of a
    /// tenant that needed more of them once.
    func idleConnection(for label: Int) -> Int? {
        if let slot = self.fittingIdleConnection(for: label) { return slot }
        let login = self.labels[label].login
        guard !self.canOpen(login: login) else { return nil }
        if let home = self.home(of: label), self.connections[home].phase == .idle { return home }
        let quietest = self.logins[login].idle.head
        return quietest == Self.none ? nil : quietest
    }

    /// An idle connection that has the label, or else one that has none.
    func fittingIdleConnection(for label: Int) -> Int? {
        let same = self.labels[label].idle.tail
        if same != Self.none { return same }
        let unlabelled = self.logins[self.labels[label].login].unlabelled.tail
        return unlabelled == Self.none ? nil : unlabelled
    }

    /// The connection that served a label last, if it is still there.
    func home(of label: Int) -> Int? { self.labels[label].home.flatMap { self.slot(of: $0) } }

    private func canOpen(login: Int) -> Bool {
        self.live < self.configuration.maximumConnections || !self.logins[login].unpromisedOpenings.isEmpty
    }

    /// Leases an idle connection; says whether its label has to change.
    mutating func grant(_ slot: Int, label: Int) -> Bool {
        self.takeFromIdle(slot)
        let relabel = self.connections[slot].label != label
        if relabel { self.setLabel(of: slot, to: label) }
        self.connections[slot].phase = .leased
        let tenant = self.labels[label].tenant
        self.tenants[tenant].leased += 1
        self.tenants[tenant].passedOver = 0
        self.tenants[tenant].lead = self.tenants[tenant].nextLead
        self.tenants[tenant].nextLead = 0
        self.labels[label].home = self.id(of: slot)
        self.noteService(of: tenant)
        return relabel
    }

    mutating func lease(_ slot: Int, to waiter: Int, _ actions: inout [Action]) {
        let relabel = self.grant(slot, label: self.waiters[waiter].label)
        actions.append(.lease(self.waiters[waiter].id, self.id(of: slot), relabel: relabel))
        self.leave(waiter)
    }

    /// Leaves the connection in no state; the caller decides what becomes of it.
    mutating func endLease(_ slot: Int) {
        let tenant = self.labels[self.connections[slot].label].tenant
        self.tenants[tenant].leased -= 1
        self.noteService(of: tenant)
    }

    mutating func reasonToClose(_ slot: Int, _ outcome: Outcome, at now: Instant) -> CloseReason? {
        guard case .healthy(let held) = outcome, self.connections[slot].epoch == self.epoch else { return .doubtful }
        if let held {
            if held != self.labels.key(at: self.connections[slot].label) {
                guard held.login == self.logins.key(at: self.connections[slot].login) else { return .doubtful }
                self.setLabel(of: slot, to: self.intern(held))
            }
        } else {
            self.setLabel(of: slot, to: Self.none)
        }
        if let expiresAt = self.connections[slot].expiresAt, expiresAt <= now { return .age }
        let isWorn = self.connections[slot].served.count >= self.configuration.maximumTenantsPerConnection
        return isWorn ? .servedManyTenants : nil
    }

    mutating func makeIdle(_ slot: Int, at now: Instant) {
        self.connections[slot].phase = .idle
        self.connections[slot].idleSince = now
        let label = self.connections[slot].label
        let login = self.connections[slot].login
        self.idleLinks.append(slot, to: &self.idle)
        self.loginLinks.append(slot, to: &self.logins[login].idle)
        if label == Self.none {
            self.labelLinks.append(slot, to: &self.logins[login].unlabelled)
        } else {
            self.labelLinks.append(slot, to: &self.labels[label].idle)
        }
    }

    mutating func takeFromIdle(_ slot: Int) {
        let label = self.connections[slot].label
        let login = self.connections[slot].login
        self.idleLinks.remove(slot, from: &self.idle)
        self.loginLinks.remove(slot, from: &self.logins[login].idle)
        if label == Self.none {
            self.labelLinks.remove(slot, from: &self.logins[login].unlabelled)
        } else {
            self.labelLinks.remove(slot, from: &self.labels[label].idle)
        }
    }

    private mutating func setLabel(of slot: Int, to label: Int) {
        let old = self.connections[slot].label
        self.connections[slot].label = label
        self.connections[slot].streak = 0
        if label != Self.none {
            self.connections[slot].served.insert(self.labels.key(at: label).fingerprint)
            self.retain(label)
        }
        if old != Self.none { self.release(old) }
    }

    /// Opens a connection for a lane; there must be room in the budget.
    mutating func open(for lane: Int, _ actions: inout [Action]) {
        let slot = self.freeConnections.popLast() ?? self.connections.count
        if slot == self.connections.count { self.connections.append(Connection()) }
        self.live += 1
        let login = self.lanes[lane].login
        self.logins[login].connections += 1
        // The waiter named is the one the place was found for: the newest when all before it have their own.
        let isLastInNeed = self.lanes[lane].promises.count + 1 == self.lanes[lane].queue.count
        let waiter = self.waiters[isLastInNeed ? self.lanes[lane].queue.tail : self.lanes[lane].queue.head].id
        self.connections[slot] = Connection(
            phase: .opening, generation: self.connections[slot].generation &+ 1, epoch: self.epoch, login: login,
            openedFor: waiter)
        self.promise(slot, to: lane)
        actions.append(.open(self.id(of: slot), login: self.logins.key(at: login), for: waiter))
    }

    /// Closes a connection that is in no list of promises; its place is free when `closed` is reported.
    mutating func close(_ slot: Int, _ reason: CloseReason, _ actions: inout [Action]) {
        if self.connections[slot].phase == .idle { self.takeFromIdle(slot) }
        self.setLabel(of: slot, to: Self.none)
        self.connections[slot].phase = .closing
        self.connections[slot].isUnpromised = true
        self.promiseLinks.append(slot, to: &self.unpromisedClosings)
        actions.append(.close(self.id(of: slot), reason))
    }

    /// Frees the connection's place in the budget.
    mutating func removeConnection(_ slot: Int) {
        switch self.connections[slot].phase {
        case .opening, .closing: self.detach(slot)
        case .idle: self.takeFromIdle(slot)
        case .leased, .free: break
        }
        self.setLabel(of: slot, to: Self.none)
        let login = self.connections[slot].login
        self.connections[slot] = Connection(generation: self.connections[slot].generation)
        self.logins[login].connections -= 1
        if self.logins[login].connections == 0, self.logins[login].labels == 0 { self.logins.remove(at: login) }
        self.freeConnections.append(slot)
        self.live -= 1
        self.dropOutdatedExpiries()
    }

    /// In a pool that is ending, closes what nobody waits for.
    mutating func closeUnneeded(_ actions: inout [Action]) {
        guard self.stage != .running else { return }
        while self.idle.head != Self.none {
            self.close(self.idle.head, .shutDown, &actions)
        }
    }
}
