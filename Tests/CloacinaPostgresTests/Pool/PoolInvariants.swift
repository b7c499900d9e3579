@testable import CloacinaPostgres

extension PoolStateMachine {
    /// What is wrong with the state; empty when all is well. (I1, I2, I3 and I7 concern the server; the fuzz checks
    /// their shadow here: what the shell was told each connection is set to.)
    func violations() -> [String] {
        var found: [String] = []
        func expect(_ holds: Bool, _ text: @autoclosure () -> String) { if !holds { found.append(text()) } }

        var phases: [Connection.Phase: Int] = [:]
        var leased = Array(repeating: 0, count: (self.tenants.indices.max() ?? 0) + 1)
        var promised = Array(repeating: 0, count: self.lanes.count)
        var references = Array(repeating: 0, count: (self.labels.indices.max() ?? 0) + 1)
        for slot in self.connections.indices {
            let connection = self.connections[slot]
            phases[connection.phase, default: 0] += 1
            if connection.label != Self.none { references[connection.label] += 1 }
            switch connection.phase {
            case .leased: leased[self.labels[connection.label].tenant] += 1
            case .opening, .closing:
                if connection.lane != Self.none { promised[connection.lane] += 1 }
                expect((connection.lane == Self.none) == connection.isUnpromised, "connection \(slot) is half promised")
            case .idle, .free:
                expect(connection.lane == Self.none, "connection \(slot) is promised although \(connection.phase)")
            }
        }
        let used = self.connections.count - phases[.free, default: 0]
        expect(used == self.live, "live is \(self.live), counted \(used)")
        expect(self.live <= self.configuration.maximumConnections, "I4: \(self.live) connections")
        expect(phases[.idle, default: 0] == self.idle.count, "idle list")

        for index in self.waiterIndex.values { references[self.waiters[index].label] += 1 }
        var waiting = 0
        for tenant in self.tenants.indices {
            expect(self.tenants[tenant].leased == leased[tenant], "leased by \(tenant)")
            expect(self.tenants[tenant].leased <= self.cap, "cap of \(tenant)")
            expect(self.tenants[tenant].share <= self.cap, "share of \(tenant)")
            var inLanes = 0
            var promisedToTenant = 0
            var lane = self.tenants[tenant].firstLane
            while lane != Self.none {
                let count = self.lanes[lane].queue.count
                inLanes += count
                promisedToTenant += self.lanes[lane].promises.count
                expect(count > 0, "empty lane \(lane)")
                expect(self.lanes[lane].promises.count <= count, "lane \(lane) has more promises than waiters")
                expect(self.lanes[lane].promises.count == promised[lane], "promises of \(lane)")
                found += self.waitsInVain(lane)
                lane = self.lanes[lane].next
            }
            expect(self.tenants[tenant].waiting == inLanes, "waiting of \(tenant)")
            expect(self.tenants[tenant].promised == promisedToTenant, "promised to \(tenant)")
            waiting += inLanes
        }
        expect(waiting == self.waiterIndex.count, "waiters: \(waiting) of \(self.waiterIndex.count)")
        expect(promised.reduce(0, +) == self.promised, "promised is \(self.promised)")
        var dormant = 0
        for label in self.labels.indices {
            let count = self.labels[label].references
            if count == 0 { dormant += 1 }
            expect(count == references[label], "references of \(label)")
        }
        expect(dormant == self.dormantLabels, "dormant labels: \(dormant), not \(self.dormantLabels)")
        return found
    }

    /// I5: nobody waits while there is something for him.
    private func waitsInVain(_ lane: Int) -> [String] {
        var found: [String] = []
        let login = self.lanes[lane].login
        if self.isNeedy(lane) {
            if self.live < self.configuration.maximumConnections { found.append("I5: waits although there is room") }
            if !self.idle.isEmpty { found.append("I5: waits although a connection is idle") }
            if !self.unpromisedClosings.isEmpty { found.append("I5: waits although a place becomes free") }
        }
        if self.isReady(lane) {
            let label = self.waiters[self.lanes[lane].queue.head].label
            if !self.labels[label].idle.isEmpty { found.append("I5: waits although its label is idle") }
            if !self.logins[login].unlabelled.isEmpty { found.append("I5: waits although an unlabelled one is idle") }
        }
        return found
    }
}
