import TestSupport
import Testing

@testable import CloacinaPostgres

/// Plays the shell, the server and the callers, and keeps its own books.
private struct PoolSimulation {
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    var machine: PoolStateMachine
    var random: SeededGenerator
    var now = ContinuousClock.now
    let labels: [PostgresLabel]
    let budget: Int
    let cap: Int

    var nextWaiter: UInt64 = 0
    var waiting: [PoolStateMachine.WaiterID: PostgresLabel] = [:]
    var waitingOrder: [PoolStateMachine.WaiterID] = []
    var opening: [PoolStateMachine.ConnectionID] = []
    var closing: [PoolStateMachine.ConnectionID] = []
    var leased: [PoolStateMachine.ConnectionID] = []
    var leases: [PoolStateMachine.ConnectionID: PostgresLabel] = [:]
    /// What each living connection is set to and logged in as.
    var set: [PoolStateMachine.ConnectionID: PostgresLabel?] = [:]
    var login: [PoolStateMachine.ConnectionID: String?] = [:]
    var ended = 0
    var leasesGranted = 0

    init(seed: UInt64) {
        self.random = SeededGenerator(seed: seed)
        self.budget = Int.random(in: 1...24, using: &self.random)
        self.cap = Int.random(in: 1...self.budget, using: &self.random)
        var configuration = PoolStateMachine.Configuration(maximumConnections: self.budget)
        configuration.maximumPerTenant = self.cap
        configuration.minimumPerTenant = Int.random(in: 0...2, using: &self.random)
        configuration.maximumTenantsPerConnection = Int.random(in: 2...40, using: &self.random)
        configuration.idleTimeout = .milliseconds(Int.random(in: 5...200, using: &self.random))
        if Bool.random(using: &self.random) { configuration.maximumWaiters = 60 }
        self.machine = PoolStateMachine(configuration)
        let logins: [String?] = [nil, "a", "b"]
        self.labels = (0..<200).map {
            PostgresLabel(schema: "tenant_\($0 % 150)", role: $0 % 7 == 0 ? "r" : nil, login: logins[$0 % 3])
        }
    }

    mutating func step() throws {
        self.now += .microseconds(Int.random(in: 0...2000, using: &self.random))
        switch Int.random(in: 0..<100, using: &self.random) {
        case 0..<38: try self.request()
        case 38..<42: try self.cancel()
        case 42..<62: try self.finishOpening()
        case 62..<72: try self.finishClosing()
        case 72..<96: try self.release()
        case 96..<99: try self.perform(self.machine.tick(at: self.now))
        default: try self.lose()
        }
        try self.check()
    }

    mutating func request() throws {
        // Few tenants ask for much, many for little.
        let isBusy = Int.random(in: 0..<3, using: &self.random) > 0
        let label = self.labels[Int.random(in: 0..<(isBusy ? 6 : self.labels.count), using: &self.random)]
        self.nextWaiter += 1
        let waiter = PoolStateMachine.WaiterID(rawValue: self.nextWaiter)
        self.waiting[waiter] = label
        self.waitingOrder.append(waiter)
        let patience = Int.random(in: -2...60, using: &self.random)
        let deadline = Bool.random(using: &self.random) ? self.now + .milliseconds(patience) : nil
        try self.perform(self.machine.request(waiter, label: label, deadline: deadline, at: self.now))
    }

    mutating func cancel() throws {
        guard !self.waitingOrder.isEmpty else { return }
        // Often one that has long been served: the race that must not matter.
        let waiter = self.waitingOrder[Int.random(in: 0..<self.waitingOrder.count, using: &self.random)]
        try self.perform(self.machine.cancel(waiter))
        if self.waiting[waiter] != nil { throw Failure(description: "\(waiter) was cancelled but did not end") }
        if self.waitingOrder.count > 100 { self.waitingOrder.removeFirst(50) }
    }

    mutating func finishOpening() throws {
        guard let connection = self.take(from: \.opening) else { return }
        if Int.random(in: 0..<8, using: &self.random) == 0 {
            self.forget(connection)
            try self.perform(self.machine.openFailed(connection, at: self.now))
        } else {
            let age = Int.random(in: 20...4000, using: &self.random)
            try self.perform(
                self.machine.opened(connection, expiresAt: self.now + .milliseconds(age), at: self.now))
        }
    }

    mutating func finishClosing() throws {
        guard let connection = self.take(from: \.closing) else { return }
        self.forget(connection)
        try self.perform(self.machine.closed(connection, at: self.now))
    }

    mutating func release() throws {
        guard let connection = self.take(from: \.leased), let label = self.leases.removeValue(forKey: connection) else {
            return
        }
        var outcome = PoolStateMachine.Outcome.healthy(label: label)
        switch Int.random(in: 0..<40, using: &self.random) {
        case 0: outcome = .doubtful
        case 1:
            outcome = .healthy(label: nil)
            self.set[connection] = .some(nil)
        case 2:
            let other = PostgresLabel(
                schema: "tenant_\(Int.random(in: 0..<150, using: &self.random))", login: label.login)
            outcome = .healthy(label: other)
            self.set[connection] = other
        default: break
        }
        try self.perform(self.machine.released(connection, outcome: outcome, at: self.now))
    }

    /// A connection dies in whatever state it is in.
    mutating func lose() throws {
        guard let connection = self.set.keys.min(by: { $0.rawValue < $1.rawValue }) else { return }
        self.forget(connection)
        self.leases[connection] = nil
        for list in [\Self.opening, \Self.closing, \Self.leased] {
            self[keyPath: list].removeAll { $0 == connection }
        }
        try self.perform(self.machine.closed(connection, at: self.now))
    }

    mutating func perform(_ actions: [PoolStateMachine.Action]) throws {
        for action in actions {
            switch action {
            case .lease(let waiter, let connection, let relabel):
                guard let label = self.waiting.removeValue(forKey: waiter) else {
                    throw Failure(description: "\(waiter) was served, but did not wait")
                }
                guard let held = self.set[connection], let login = self.login[connection] else {
                    throw Failure(description: "\(connection) was leased, but does not exist")
                }
                guard self.leases[connection] == nil, !self.opening.contains(connection),
                    !self.closing.contains(connection)
                else { throw Failure(description: "\(connection) was leased, but is not idle") }
                guard login == label.login, relabel == (held != label) else {
                    throw Failure(description: "I1: \(connection) has \(String(describing: held)), wanted \(label)")
                }
                self.set[connection] = label
                self.leases[connection] = label
                self.leased.append(connection)
                self.ended += 1
                self.leasesGranted += 1
            case .open(let connection, let login, _):
                guard self.set[connection] == nil else { throw Failure(description: "\(connection) opened twice") }
                self.set[connection] = .some(nil)
                self.login[connection] = .some(login)
                self.opening.append(connection)
            case .close(let connection, _):
                guard self.set[connection] != nil, !self.closing.contains(connection) else {
                    throw Failure(description: "\(connection) closed, but is not open")
                }
                self.leases[connection] = nil
                self.opening.removeAll { $0 == connection }
                self.leased.removeAll { $0 == connection }
                self.closing.append(connection)
            case .fail(let waiter, _):
                guard self.waiting.removeValue(forKey: waiter) != nil else {
                    throw Failure(description: "\(waiter) failed, but did not wait")
                }
                self.ended += 1
            }
        }
    }

    func check() throws {
        let violations = self.machine.violations()
        guard violations.isEmpty else { throw Failure(description: violations.joined(separator: "; ")) }
        guard self.set.count <= self.budget, self.set.count == self.machine.live else {
            throw Failure(description: "I4: \(self.set.count) connections, budget \(self.budget)")
        }
        guard self.waiting.count == self.machine.waiterIndex.count else {
            throw Failure(description: "\(self.waiting.count) wait, machine knows \(self.machine.waiterIndex.count)")
        }
    }

    /// Ends the pool and everything in it.
    mutating func finish(graceful: Bool) throws {
        try self.perform(self.machine.shutdown(graceful: graceful))
        try self.check()
        while !self.machine.isFinished {
            let before = (self.opening.count, self.closing.count, self.leased.count)
            guard before != (0, 0, 0) else { throw Failure(description: "the pool never ends") }
            try self.finishOpening()
            try self.check()
            try self.finishClosing()
            try self.check()
            try self.release()
            try self.check()
        }
        guard self.waiting.isEmpty, self.ended == Int(self.nextWaiter) else {
            throw Failure(description: "\(self.nextWaiter) asked, \(self.ended) ended")
        }
    }

    private mutating func take(
        from list: WritableKeyPath<Self, [PoolStateMachine.ConnectionID]>
    ) -> PoolStateMachine.ConnectionID? {
        guard !self[keyPath: list].isEmpty else { return nil }
        let index = Int.random(in: 0..<self[keyPath: list].count, using: &self.random)
        return self[keyPath: list].remove(at: index)
    }

    private mutating func forget(_ connection: PoolStateMachine.ConnectionID) {
        self.set[connection] = nil
        self.login[connection] = nil
    }
}

@Suite struct PoolFuzzTests {
    @Test(arguments: 1...40 as ClosedRange<UInt64>)
    func anyOrderOfEventsKeepsTheInvariants(seed: UInt64) {
        var simulation = PoolSimulation(seed: seed)
        var step = 0
        do {
            while step < 5_500 {
                try simulation.step()
                step += 1
            }
            #expect(simulation.leasesGranted > 100)
            try simulation.finish(graceful: seed.isMultiple(of: 2))
        } catch {
            Issue.record("seed \(seed), step \(step): \(error)")
        }
    }
}
