import HeapModule

// Who waits, who comes first, and which connections are on their way to whom.

extension PoolStateMachine {
    mutating func enqueue(_ id: WaiterID, label: Int, deadline: Instant?) {
        precondition(self.waiterIndex[id] == nil, "A waiter asks once.")
        let tenant = self.labels[label].tenant
        let login = self.labels[label].login
        self.sequence += 1
        if self.tenants[tenant].waiting == 0 {
            self.tenants[tenant].since = max(self.sequence, self.tenants[tenant].since)
        }
        self.tenants[tenant].waiting += 1
        let lane = self.lane(of: tenant, login: login) ?? self.makeLane(of: tenant, login: login)
        let waiter = Waiter(id: id, label: label, lane: lane, sequence: self.sequence)
        let index = self.freeWaiters.popLast() ?? self.waiters.count
        if index == self.waiters.count { self.waiters.append(waiter) } else { self.waiters[index] = waiter }
        self.waiterIndex[id] = index
        self.retain(label)
        let wasInNeed = self.lanes[lane].queue.count > self.lanes[lane].promises.count
        self.waiterLinks.append(index, to: &self.lanes[lane].queue)
        if let deadline { self.scheduleDeadline(of: id, at: deadline) }
        if !wasInNeed { self.rank(tenant) }
    }

    /// Takes a waiter out of its lane, and from the lane the promises that it no longer needs.
    mutating func leave(_ index: Int) {
        let lane = self.waiters[index].lane
        let tenant = self.lanes[lane].tenant
        self.waiterLinks.remove(index, from: &self.lanes[lane].queue)
        self.waiterIndex[self.waiters[index].id] = nil
        self.freeWaiters.append(index)
        self.tenants[tenant].waiting -= 1
        while self.lanes[lane].promises.count > self.lanes[lane].queue.count
            || self.tenants[tenant].share > self.cap && !self.lanes[lane].promises.isEmpty
        {
            self.withdraw(self.lanes[lane].promises.tail)
        }
        self.release(self.waiters[index].label)
        if self.lanes[lane].queue.isEmpty { self.removeLane(lane) }
        self.rank(tenant)
        self.dropOutdatedDeadlines()
    }

    mutating func fail(_ index: Int, _ reason: FailReason, _ actions: inout [Action]) {
        actions.append(.fail(self.waiters[index].id, reason))
        self.leave(index)
    }

    /// The connection opened for a lane did not come: an idle one replaces it, else the waiter fails.
    mutating func disappoint(_ lane: Int, preferring openedFor: WaiterID?, _ actions: inout [Action]) {
        let login = self.lanes[lane].login
        let head = self.lanes[lane].queue.head
        if self.tenants[self.lanes[lane].tenant].share < self.cap, !self.logins[login].idle.isEmpty {
            let slot = self.idleConnection(for: self.waiters[head].label) ?? self.logins[login].idle.head
            self.lease(slot, to: head, &actions)
        } else if let openedFor, let index = self.waiterIndex[openedFor], self.waiters[index].lane == lane {
            self.fail(index, .openFailed, &actions)
        } else {
            self.fail(head, .openFailed, &actions)
        }
    }

    /// A connection has just become idle: whoever comes first gets it, unless a better one is idle for them.
    mutating func handOver(_ slot: Int, _ actions: inout [Action]) {
        let login = self.connections[slot].login
        while self.connections[slot].phase == .idle, let ready = self.firstReady(login: login) {
            let first = self.firstOf(ready: ready)
            let lane =
                self.laneKeeping(slot, insteadOf: first) ?? self.laneKnown(to: slot, insteadOf: first) ?? first
            guard self.lanes[lane].login == login else {
                self.plan(&actions)
                continue
            }
            let head = self.lanes[lane].queue.head
            let better = self.fittingIdleConnection(for: self.waiters[head].label)
            self.lease(better ?? slot, to: head, &actions)
        }
        self.plan(&actions)
    }

    /// Finds a connection for everybody who has none on the way, in order, until nothing is left to give.
    mutating func plan(_ actions: inout [Action]) {
        while let lane = self.firstNeedy() {
            let login = self.lanes[lane].login
            let head = self.lanes[lane].queue.head
            if let slot = self.idleConnection(for: self.waiters[head].label) {
                self.lease(slot, to: head, &actions)
            } else if !self.logins[login].unpromisedOpenings.isEmpty {
                self.promise(self.logins[login].unpromisedOpenings.head, to: lane)
            } else if self.live < self.configuration.maximumConnections {
                self.open(for: lane, &actions)
            } else if !self.unpromisedClosings.isEmpty {
                self.promise(self.unpromisedClosings.head, to: lane)
            } else if !self.idle.isEmpty {
                let slot = self.idle.head
                self.close(slot, .neededForOtherLogin, &actions)
                self.promise(slot, to: lane)
            } else {
                return
            }
        }
    }

    // MARK: Order

    /// This lane, or the first of all lanes in need when that comes before it; it may be of another login.
    private mutating func firstOf(ready: Int) -> Int {
        guard let needy = self.firstNeedy(), needy != ready else { return ready }
        return self.rankOf(needy) < self.rankOf(ready) ? needy : ready
    }

    /// The lane whose label the connection already has, when it is as entitled as the first, no one is below the floor,
    /// and affinity did not decide too often in a row.
    private mutating func laneKeeping(_ slot: Int, insteadOf first: Int) -> Int? {
        let label = self.connections[slot].label
        guard label != Self.none else { return nil }
        let tenant = self.labels[label].tenant
        guard let own = self.lane(of: tenant, login: self.connections[slot].login), own != first,
            self.waiters[self.lanes[own].queue.head].label == label, self.isReady(own)
        else {
            self.connections[slot].streak = 0
            return nil
        }
        let share = self.tenants[tenant].share
        guard share == self.tenants[self.lanes[first].tenant].share, share >= self.configuration.minimumPerTenant,
            self.connections[slot].streak < self.configuration.affinityStreak
        else { return nil }
        self.connections[slot].streak += 1
        return own
    }

    /// A lane that the connection has served before, when it is as entitled as the first and has waited half as long at least,
    /// and the first has a connection of its own to wait for and was not passed over too often. Whoever goes first this way
    /// is put back by as much the next time, so that in the long run all get the same. A backend reads a tenant's catalog entries anew when it meets
    /// the tenant for the first time, which costs it some milliseconds.
    private mutating func laneKnown(to slot: Int, insteadOf first: Int) -> Int? {
        let tenant = self.lanes[first].tenant
        guard let home = self.home(of: self.waiters[self.lanes[first].queue.head].label), home != slot,
            self.connections[home].phase == .leased,
            self.tenants[tenant].passedOver < self.configuration.maximumPassesOver,
            let own = self.firstKnown(to: slot), self.isReady(own)
        else { return nil }
        let preferred = self.lanes[own].tenant
        guard preferred != tenant, self.tenants[preferred].share == self.tenants[tenant].share,
            self.tenants[tenant].since <= self.sequence
        else { return nil }
        let lead = self.tenants[preferred].since - min(self.tenants[preferred].since, self.tenants[tenant].since)
        guard lead <= (self.sequence - self.tenants[tenant].since) / 2 else { return nil }
        self.tenants[tenant].passedOver += 1
        self.tenants[preferred].nextLead = lead
        return own
    }

    private mutating func firstKnown(to slot: Int) -> Int? {
        while let rank = self.connections[slot].known.min {
            if self.isCurrent(rank) { return rank.lane }
            self.connections[slot].known.removeMin()
        }
        return nil
    }

    /// Whether the lane could take an idle connection: below the cap, or in exchange for a promise.
    func isReady(_ lane: Int) -> Bool {
        !self.lanes[lane].promises.isEmpty || self.tenants[self.lanes[lane].tenant].share < self.cap
    }

    /// Whether somebody in the lane has no connection on the way and may have one.
    func isNeedy(_ lane: Int) -> Bool {
        self.lanes[lane].queue.count > self.lanes[lane].promises.count
            && self.tenants[self.lanes[lane].tenant].share < self.cap
    }

    private func rankOf(_ lane: Int) -> Rank {
        let tenant = self.lanes[lane].tenant
        return Rank(
            share: self.tenants[tenant].share, since: self.tenants[tenant].since,
            sequence: self.waiters[self.lanes[lane].queue.head].sequence, lane: lane, stamp: self.lanes[lane].stamp)
    }

    /// The tenant got a connection or gave one back: among equals it goes to the end.
    mutating func noteService(of tenant: Int) {
        self.sequence += 1
        self.tenants[tenant].since = self.sequence + self.tenants[tenant].lead
        if self.tenants[tenant].waiting > 0 { self.rank(tenant) }
    }

    /// Puts the tenant's lanes where they belong now; to be called whenever one of them, or the share, changed.
    private mutating func rank(_ tenant: Int) {
        var lane = self.tenants[tenant].firstLane
        while lane != Self.none {
            self.sequence += 1
            self.lanes[lane].stamp = self.sequence
            if !self.lanes[lane].queue.isEmpty {
                let rank = self.rankOf(lane)
                let login = self.lanes[lane].login
                if self.isReady(lane) {
                    self.logins[login].ready.insert(rank)
                    if self.logins[login].ready.count > 2 * self.logins[login].waitingLanes + 64 {
                        self.logins[login].ready = Heap(self.logins[login].ready.unordered.filter(self.isCurrent))
                    }
                    self.noteKnown(rank)
                }
                if self.isNeedy(lane) {
                    self.needy.insert(rank)
                    if self.needy.count > 2 * (self.lanes.count - self.freeLanes.count) + 64 {
                        self.needy = Heap(self.needy.unordered.filter(self.isCurrent))
                    }
                }
            }
            lane = self.lanes[lane].next
        }
    }

    /// Enters a ready lane with the connection that served it last.
    private mutating func noteKnown(_ rank: Rank) {
        let label = self.waiters[self.lanes[rank.lane].queue.head].label
        guard let home = self.home(of: label), self.connections[home].login == self.lanes[rank.lane].login else {
            return
        }
        self.connections[home].known.insert(rank)
        if self.connections[home].known.count > 2 * self.connections[home].served.count + 64 {
            self.connections[home].known = Heap(self.connections[home].known.unordered.filter(self.isCurrent))
        }
    }

    private func isCurrent(_ rank: Rank) -> Bool { self.lanes[rank.lane].stamp == rank.stamp }

    mutating func firstNeedy() -> Int? {
        while let rank = self.needy.min {
            if self.isCurrent(rank) { return rank.lane }
            self.needy.removeMin()
        }
        return nil
    }

    mutating func firstReady(login: Int) -> Int? {
        while let rank = self.logins[login].ready.min {
            if self.isCurrent(rank) { return rank.lane }
            self.logins[login].ready.removeMin()
        }
        return nil
    }

    // MARK: Promises

    /// Assigns a connection that is being opened or closed to a lane.
    mutating func promise(_ slot: Int, to lane: Int) {
        self.detach(slot)
        self.connections[slot].lane = lane
        self.promiseLinks.append(slot, to: &self.lanes[lane].promises)
        let tenant = self.lanes[lane].tenant
        self.tenants[tenant].promised += 1
        self.promised += 1
        self.rank(tenant)
    }

    /// Takes a connection that is being opened or closed away from its lane, for whoever comes next.
    private mutating func withdraw(_ slot: Int) {
        self.detach(slot)
        if self.connections[slot].phase == .opening {
            let login = self.connections[slot].login
            self.promiseLinks.append(slot, to: &self.logins[login].unpromisedOpenings)
        } else {
            self.promiseLinks.append(slot, to: &self.unpromisedClosings)
        }
        self.connections[slot].isUnpromised = true
    }

    /// Takes a connection out of whichever list of promises it is in.
    mutating func detach(_ slot: Int) {
        let lane = self.connections[slot].lane
        if lane != Self.none {
            self.promiseLinks.remove(slot, from: &self.lanes[lane].promises)
            self.connections[slot].lane = Self.none
            let tenant = self.lanes[lane].tenant
            self.tenants[tenant].promised -= 1
            self.promised -= 1
            self.rank(tenant)
        } else if self.connections[slot].isUnpromised {
            self.connections[slot].isUnpromised = false
            if self.connections[slot].phase == .opening {
                let login = self.connections[slot].login
                self.promiseLinks.remove(slot, from: &self.logins[login].unpromisedOpenings)
            } else {
                self.promiseLinks.remove(slot, from: &self.unpromisedClosings)
            }
        }
    }

    // MARK: Lanes

    /// A tenant has as many lanes as logins that somebody waits for: one, two while a credential rotates.
    private func lane(of tenant: Int, login: Int) -> Int? {
        var lane = self.tenants[tenant].firstLane
        while lane != Self.none {
            if self.lanes[lane].login == login { return lane }
            lane = self.lanes[lane].next
        }
        return nil
    }

    private mutating func makeLane(of tenant: Int, login: Int) -> Int {
        let lane = Lane(tenant: tenant, login: login, next: self.tenants[tenant].firstLane)
        let index = self.freeLanes.popLast() ?? self.lanes.count
        if index == self.lanes.count { self.lanes.append(lane) } else { self.lanes[index] = lane }
        self.tenants[tenant].firstLane = index
        self.logins[login].waitingLanes += 1
        return index
    }

    private mutating func removeLane(_ lane: Int) {
        let tenant = self.lanes[lane].tenant
        if self.tenants[tenant].firstLane == lane {
            self.tenants[tenant].firstLane = self.lanes[lane].next
        } else {
            var previous = self.tenants[tenant].firstLane
            while self.lanes[previous].next != lane { previous = self.lanes[previous].next }
            self.lanes[previous].next = self.lanes[lane].next
        }
        self.lanes[lane].stamp = 0
        self.logins[self.lanes[lane].login].waitingLanes -= 1
        self.freeLanes.append(lane)
    }
}
