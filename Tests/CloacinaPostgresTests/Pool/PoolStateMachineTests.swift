import Testing

@testable import CloacinaPostgres

private typealias Machine = PoolStateMachine
private typealias Action = PoolStateMachine.Action
private typealias Reason = PoolStateMachine.CloseReason

/// A pool with short names for what happens to it, and a time that only moves when told.
private struct Pool {
    var machine: PoolStateMachine
    var now = ContinuousClock.now
    private var nextWaiter: UInt64 = 0

    init(_ budget: Int, configure: (inout PoolStateMachine.Configuration) -> Void = { _ in }) {
        var configuration = PoolStateMachine.Configuration(maximumConnections: budget)
        configure(&configuration)
        self.machine = PoolStateMachine(configuration)
    }

    mutating func ask(
        _ schema: String, role: String? = nil, login: String? = nil, within patience: Duration? = nil
    ) -> (waiter: Machine.WaiterID, actions: [Action]) {
        self.nextWaiter += 1
        let waiter = Machine.WaiterID(rawValue: self.nextWaiter)
        let label = PostgresLabel(schema: schema, role: role, login: login)
        let deadline = patience.map { self.now + $0 }
        return (waiter, self.machine.request(waiter, label: label, deadline: deadline, at: self.now))
    }

    mutating func opened(_ connection: Machine.ConnectionID, age: Duration = .seconds(3600)) -> [Action] {
        self.machine.opened(connection, expiresAt: self.now + age, at: self.now)
    }

    mutating func back(_ connection: Machine.ConnectionID, _ schema: String?, login: String? = nil) -> [Action] {
        let label = schema.map { PostgresLabel(schema: $0, login: login) }
        return self.machine.released(connection, outcome: .healthy(label: label), at: self.now)
    }

    mutating func closed(_ connection: Machine.ConnectionID) -> [Action] {
        self.machine.closed(connection, at: self.now)
    }

    mutating func pass(_ time: Duration) -> [Action] {
        self.now += time
        return self.machine.tick(at: self.now)
    }

    /// Asks, opens, and leaves the lease to the caller.
    mutating func openLease(
        _ schema: String, login: String? = nil, age: Duration = .seconds(3600)
    ) throws -> Machine.ConnectionID {
        let asked = self.ask(schema, login: login)
        let connection = try #require(asked.actions.opened)
        let actions = self.opened(connection, age: age)
        #expect(actions == [.lease(asked.waiter, connection, relabel: true)])
        return connection
    }

    /// Opens a connection and gives it back.
    mutating func openIdle(_ schema: String, login: String? = nil) throws -> Machine.ConnectionID {
        let connection = try self.openLease(schema, login: login)
        #expect(self.back(connection, schema, login: login) == [])
        return connection
    }
}

extension [PoolStateMachine.Action] {
    /// The connection that the only action opens.
    fileprivate var opened: PoolStateMachine.ConnectionID? {
        guard self.count == 1, case .open(let connection, _, _) = self[0] else { return nil }
        return connection
    }

    fileprivate var served: [PoolStateMachine.WaiterID] {
        self.compactMap { if case .lease(let waiter, _, _) = $0 { waiter } else { nil } }
    }
}

@Suite struct PoolChoiceTests {
    @Test func anEmptyPoolOpensAConnectionForTheWaiter() throws {
        var pool = Pool(2)
        let asked = pool.ask("acme", login: "acme_a")
        let connection = try #require(asked.actions.opened)
        #expect(asked.actions == [.open(connection, login: "acme_a", for: asked.waiter)])
        #expect(pool.opened(connection) == [.lease(asked.waiter, connection, relabel: true)])
    }

    @Test func anIdleConnectionWithTheLabelComesFirst() throws {
        var pool = Pool(3)
        let acme = try pool.openLease("acme")
        let globex = try pool.openIdle("globex")
        #expect(pool.back(acme, nil) == [])
        let asked = pool.ask("globex")
        #expect(asked.actions == [.lease(asked.waiter, globex, relabel: false)])
    }

    @Test func theLatestUsedOfSeveralWithTheLabelIsTaken() throws {
        var pool = Pool(2)
        let first = try pool.openLease("acme")
        let second = try pool.openLease("acme")
        _ = pool.back(second, "acme")
        _ = pool.back(first, "acme")
        let asked = pool.ask("acme")
        #expect(asked.actions == [.lease(asked.waiter, first, relabel: false)])
    }

    @Test func anUnlabelledConnectionComesBeforeANewOne() throws {
        var pool = Pool(2)
        let connection = try pool.openLease("acme")
        _ = pool.back(connection, nil)
        let asked = pool.ask("globex")
        #expect(asked.actions == [.lease(asked.waiter, connection, relabel: true)])
    }

    @Test func aNewConnectionComesBeforeRelabelling() throws {
        var pool = Pool(2)
        _ = try pool.openIdle("acme")
        #expect(pool.ask("globex").actions.opened != nil)
    }

    @Test func withTheBudgetSpentTheLongestQuietIsRelabelled() throws {
        var pool = Pool(3)
        let acme = try pool.openIdle("acme")
        let globex = try pool.openIdle("globex")
        _ = try pool.openIdle("initech")
        _ = pool.back(try #require(pool.ask("acme").actions.served.first.map { _ in acme }), "acme")
        let asked = pool.ask("hooli")
        #expect(asked.actions == [.lease(asked.waiter, globex, relabel: true)])
    }

    @Test func rolesOfOneSchemaAreDifferentLabels() throws {
        var pool = Pool(1)
        let connection = try pool.openIdle("acme")
        let asked = pool.ask("acme", role: "acme_runtime")
        #expect(asked.actions == [.lease(asked.waiter, connection, relabel: true)])
    }

    @Test func anotherLoginClosesTheQuietestAndOpensInItsPlace() throws {
        var pool = Pool(2)
        let acme = try pool.openIdle("acme", login: "a")
        _ = try pool.openIdle("globex", login: "b")
        let asked = pool.ask("initech", login: "c")
        #expect(asked.actions == [.close(acme, .neededForOtherLogin)])
        let actions = pool.closed(acme)
        let opened = try #require(actions.opened)
        #expect(actions == [.open(opened, login: "c", for: asked.waiter)])
        #expect(pool.opened(opened) == [.lease(asked.waiter, opened, relabel: true)])
    }

    @Test func aPlaceThatBecomesFreeAnywayIsUsedBeforeAnotherIsMade() throws {
        var pool = Pool(2)
        let acme = try pool.openLease("acme", login: "a")
        _ = try pool.openIdle("globex", login: "b")
        #expect(pool.machine.released(acme, outcome: .doubtful, at: pool.now) == [.close(acme, .doubtful)])
        let asked = pool.ask("initech", login: "c")
        #expect(asked.actions == [])
        #expect(pool.closed(acme).opened != nil)
    }

    @Test func aWaiterTakesWhatComesBackBeforeItsOwnIsOpen() throws {
        var pool = Pool(2)
        let acme = try pool.openLease("acme")
        let asked = pool.ask("globex")
        let opening = try #require(asked.actions.opened)
        #expect(pool.back(acme, "acme") == [.lease(asked.waiter, acme, relabel: true)])
        #expect(pool.opened(opening) == [])
        let next = pool.ask("initech")
        #expect(next.actions == [.lease(next.waiter, opening, relabel: true)])
    }

    @Test func anOpeningThatLostItsWaiterServesTheNextRequest() throws {
        var pool = Pool(5)
        let first = pool.ask("acme")
        let opening = try #require(first.actions.opened)
        #expect(pool.machine.cancel(first.waiter) == [.fail(first.waiter, .cancelled)])
        let second = pool.ask("globex")
        #expect(second.actions == [])
        #expect(pool.opened(opening) == [.lease(second.waiter, opening, relabel: true)])
    }

    @Test func theBudgetIsFreeOnlyOnceTheConnectionIsClosed() throws {
        var pool = Pool(1)
        let connection = try pool.openLease("acme")
        _ = pool.machine.released(connection, outcome: .doubtful, at: pool.now)
        #expect(pool.ask("acme").actions == [])
        #expect(pool.closed(connection).opened != nil)
    }
}

@Suite struct PoolFairnessTests {
    @Test(arguments: [1, 2, 8])
    func aQuietTenantIsServedNextThoughABusyOneHasAThousandWaiting(budget: Int) throws {
        var pool = Pool(budget)
        let leases = try (0..<budget).map { _ in try pool.openLease("busy") }
        for _ in 0..<1_000 { #expect(pool.ask("busy").actions == []) }
        let quiet = pool.ask("quiet")
        #expect(pool.back(leases[0], "busy") == [.lease(quiet.waiter, leases[0], relabel: true)])
    }

    @Test func aQuietTenantOfAnotherLoginIsServedNextToo() throws {
        var pool = Pool(2)
        let leases = try (0..<2).map { _ in try pool.openLease("busy", login: "a") }
        for _ in 0..<100 { _ = pool.ask("busy", login: "a") }
        let quiet = pool.ask("quiet", login: "b")
        #expect(pool.back(leases[0], "busy", login: "a") == [.close(leases[0], .neededForOtherLogin)])
        let opened = try #require(pool.closed(leases[0]).opened)
        #expect(pool.opened(opened) == [.lease(quiet.waiter, opened, relabel: true)])
    }

    @Test func whoeverHasFewestComesFirst() throws {
        var pool = Pool(4)
        let first = try pool.openLease("two")
        _ = try pool.openLease("two")
        _ = try pool.openLease("one")
        let other = try pool.openLease("idle")
        _ = pool.ask("two")
        let one = pool.ask("one")
        #expect(pool.back(other, "idle").served == [one.waiter])
        // Now both have two.
        _ = pool.ask("one")
        let zero = pool.ask("zero")
        #expect(pool.back(first, "two").served == [zero.waiter])
    }

    @Test func equalTenantsTakeTurns() throws {
        var pool = Pool(1)
        let connection = try pool.openLease("x")
        var order: [PoolStateMachine.WaiterID: String] = [:]
        for schema in ["a", "a", "a", "b", "b", "c"] { order[pool.ask(schema).waiter] = schema }
        var served: [String] = []
        var held = "x"
        while let waiter = pool.back(connection, held).served.first {
            held = try #require(order[waiter])
            served.append(held)
        }
        #expect(served == ["a", "b", "c", "a", "b", "a"])
    }

    @Test func oneTenantsWaitersAreServedInOrder() throws {
        var pool = Pool(1)
        let connection = try pool.openLease("acme")
        let waiters = (0..<50).map { _ in pool.ask("acme").waiter }
        #expect(waiters.map { _ in pool.back(connection, "acme").served } == waiters.map { [$0] })
    }

    @Test func theCapHoldsThoughConnectionsAreIdle() throws {
        var pool = Pool(4) { $0.maximumPerTenant = 2 }
        _ = try pool.openIdle("other")
        let first = try pool.openLease("acme")
        _ = try pool.openLease("acme")
        let third = pool.ask("acme")
        #expect(third.actions == [])
        let other = pool.ask("initech")
        #expect(other.actions.opened != nil)
        #expect(pool.back(first, "acme") == [.lease(third.waiter, first, relabel: false)])
    }

    @Test func theCapCountsWhatIsBeingOpened() {
        var pool = Pool(4) { $0.maximumPerTenant = 2 }
        #expect(pool.ask("acme").actions.opened != nil)
        #expect(pool.ask("acme", login: "a").actions.opened != nil)
        #expect(pool.ask("acme").actions == [])
        #expect(pool.ask("globex").actions.opened != nil)
    }

    @Test func belowTheFloorAffinityDecidesNothing() throws {
        var pool = Pool(2) { $0.minimumPerTenant = 2 }
        let acme = try pool.openLease("acme")
        _ = try pool.openLease("acme")
        _ = pool.ask("acme")
        _ = pool.ask("acme")
        let globex = pool.ask("globex")
        #expect(pool.back(acme, "acme").served == [globex.waiter])
    }

    @Test func amongEqualsAConnectionKeepsItsLabelForALimitedTime() throws {
        var pool = Pool(1) {
            $0.minimumPerTenant = 0
            $0.affinityStreak = 3
        }
        let connection = try pool.openLease("acme")
        let acme = (0..<10).map { _ in pool.ask("acme").waiter }
        let globex = pool.ask("globex")
        for waiter in acme.prefix(3) { #expect(pool.back(connection, "acme").served == [waiter]) }
        #expect(pool.back(connection, "acme") == [.lease(globex.waiter, connection, relabel: true)])
    }

    /// Two connections: the first served "a" and is leased for "x", the second served "b" and is leased for "y".
    private func twoHomes(
        _ configure: (inout PoolStateMachine.Configuration) -> Void = { _ in }
    ) throws -> (pool: Pool, first: PoolStateMachine.ConnectionID, second: PoolStateMachine.ConnectionID) {
        var pool = Pool(2, configure: configure)
        let first = try pool.openLease("a")
        let second = try pool.openLease("b")
        let (x, y) = (pool.ask("x").waiter, pool.ask("y").waiter)
        #expect(pool.back(first, "a").served == [x])
        #expect(pool.back(second, "b").served == [y])
        return (pool, first, second)
    }

    @Test func aFreedConnectionServesTheTenantItKnowsWhileTheFirstOnesIsBusy() throws {
        var (pool, first, second) = try self.twoHomes()
        let (a, b) = (pool.ask("a").waiter, pool.ask("b").waiter)
        for number in 0..<20 { _ = pool.ask("later_\(number)") }
        #expect(pool.back(second, "y").served == [b])
        #expect(pool.back(first, "x").served == [a])
    }

    @Test func aTenantThatNoConnectionKnowsWaitsForNone() throws {
        var (pool, _, second) = try self.twoHomes()
        let stranger = pool.ask("stranger").waiter
        _ = pool.ask("b")
        for number in 0..<20 { _ = pool.ask("later_\(number)") }
        #expect(pool.back(second, "y").served == [stranger])
    }

    @Test func whoHasWaitedMuchShorterDoesNotGoFirst() throws {
        var (pool, _, second) = try self.twoHomes()
        let a = pool.ask("a").waiter
        for number in 0..<20 { _ = pool.ask("later_\(number)") }
        _ = pool.ask("b")
        #expect(pool.back(second, "y").served == [a])
    }

    @Test func nobodyIsPassedOverTooOften() throws {
        var pool = Pool(2) {
            $0.maximumPassesOver = 3
            $0.maximumTenantsPerConnection = .max
        }
        let first = try pool.openLease("a")
        let second = try pool.openLease("b_0")
        for number in 1..<9 {
            let next = pool.ask("b_\(number)").waiter
            #expect(pool.back(second, "b_\(number - 1)").served == [next])
        }
        let x = pool.ask("x").waiter
        #expect(pool.back(first, "a").served == [x])
        // The first keeps its connection; the second knows everybody else.
        let a = pool.ask("a").waiter
        let others = (0..<8).map { pool.ask("b_\($0)").waiter }
        for number in 0..<40 { _ = pool.ask("later_\(number)") }
        var last = "b_8"
        for (number, other) in others.prefix(3).enumerated() {
            #expect(pool.back(second, last).served == [other])
            last = "b_\(number)"
        }
        #expect(pool.back(second, last).served == [a])
    }

    @Test func amongIdleConnectionsTheOneThatKnowsTheTenantIsTaken() throws {
        var pool = Pool(2)
        let first = try pool.openLease("a")
        let second = try pool.openLease("b")
        let (x, y) = (pool.ask("x").waiter, pool.ask("y").waiter)
        #expect(pool.back(first, "a").served == [x])
        #expect(pool.back(second, "b").served == [y])
        _ = pool.back(first, "x")
        _ = pool.back(second, "y")
        // The longest idle is the first.
        let b = pool.ask("b")
        #expect(b.actions == [.lease(b.waiter, second, relabel: true)])
    }

    /// I6, with demand that never ends: nobody gets a second lease more than the others, whatever they ask for; as many more
    /// as somebody may be passed over, where connections prefer whom they know.
    @Test(arguments: [1, 3, 8], [false, true])
    func underConstantDemandEveryTenantGetsTheSame(budget: Int, hasOwnLogins: Bool) throws {
        for passes in [0, 16] {
            try self.demand(of: budget, hasOwnLogins: hasOwnLogins, passes: passes)
        }
    }

    private func demand(of budget: Int, hasOwnLogins: Bool, passes: Int) throws {
        var pool = Pool(budget) {
            $0.maximumTenantsPerConnection = .max
            $0.maximumPassesOver = passes
        }
        var served: [Int: Int] = [:]
        var askedBy: [PoolStateMachine.WaiterID: Int] = [:]
        var leased: [(connection: PoolStateMachine.ConnectionID, tenant: Int)] = []
        var pending: [Action] = []
        for round in 0..<6_000 {
            let tenant = round % 10
            // The first asks ten times as often.
            for _ in 0..<(tenant == 0 ? 10 : 1) {
                let asked = pool.ask("tenant_\(tenant)", login: hasOwnLogins ? "login_\(tenant)" : nil)
                askedBy[asked.waiter] = tenant
                pending += asked.actions
            }
            if round > 200, !leased.isEmpty {
                let lease = leased.removeFirst()
                let login = hasOwnLogins ? "login_\(lease.tenant)" : nil
                pending += pool.back(lease.connection, "tenant_\(lease.tenant)", login: login)
            }
            while !pending.isEmpty {
                switch pending.removeFirst() {
                case .lease(let waiter, let connection, _):
                    let tenant = try #require(askedBy[waiter])
                    served[tenant, default: 0] += 1
                    leased.append((connection, tenant))
                case .open(let connection, _, _): pending += pool.opened(connection)
                case .close(let connection, _): pending += pool.closed(connection)
                case .fail: Issue.record("nobody should fail")
                }
            }
        }
        #expect(served.count == 10)
        let counts = served.values
        let spread = try #require(counts.max()) - (try #require(counts.min()))
        #expect(spread <= budget + 1 + (passes > 0 ? 6 : 0), "\(served)")
    }

    @Test func manyWaitersOfManyTenantsStayFast() throws {
        var pool = Pool(8) { $0.maximumTenantsPerConnection = .max }
        var leases: [PoolStateMachine.ConnectionID] = []
        for _ in 0..<8 { leases.append(try pool.openLease("first")) }
        for index in 0..<20_000 { _ = pool.ask("tenant_\(index % 1_000)", within: .seconds(index % 50 + 1)) }
        var served = 0
        for round in 0..<20_000 {
            served += pool.back(leases[round % 8], nil).served.count
        }
        #expect(served == 20_000)
        #expect(pool.machine.orderedEntries < 1_000)
        #expect(pool.machine.violations() == [])
    }
}

@Suite struct PoolWaitingTests {
    @Test func cancellingTwiceOrAfterTheLeaseDoesNothing() throws {
        var pool = Pool(1)
        let served = pool.ask("acme")
        let connection = try #require(served.actions.opened)
        _ = pool.opened(connection)
        #expect(pool.machine.cancel(served.waiter) == [])
        let waiting = pool.ask("acme")
        #expect(pool.machine.cancel(waiting.waiter) == [.fail(waiting.waiter, .cancelled)])
        #expect(pool.machine.cancel(waiting.waiter) == [])
        #expect(pool.back(connection, "acme") == [])
    }

    @Test func aCancelledWaiterAtTheCapLetsTheNextOneOpen() throws {
        var pool = Pool(2) { $0.maximumPerTenant = 1 }
        let first = pool.ask("acme", login: "a")
        let second = pool.ask("acme", login: "b")
        #expect(second.actions == [])
        let actions = pool.machine.cancel(first.waiter)
        #expect(actions.first == .fail(first.waiter, .cancelled))
        #expect(Array(actions.dropFirst()).opened != nil)
    }

    @Test func theDeadlineFailsWhoStillWaits() throws {
        var pool = Pool(1)
        let connection = try pool.openLease("acme")
        let patient = pool.ask("acme", within: .seconds(10))
        let impatient = pool.ask("globex", within: .seconds(2))
        #expect(pool.machine.nextDue() == pool.now + .seconds(2))
        #expect(pool.pass(.seconds(1)) == [])
        #expect(pool.pass(.seconds(1)) == [.fail(impatient.waiter, .deadlineExceeded)])
        #expect(pool.back(connection, "acme").served == [patient.waiter])
        #expect(pool.pass(.seconds(60)) == [])
    }

    @Test func aDeadlineInThePastFailsAtOnce() {
        var pool = Pool(1)
        let asked = pool.ask("acme", within: .zero)
        #expect(asked.actions == [.fail(asked.waiter, .deadlineExceeded)])
    }

    @Test func tooManyWaitersAreTurnedAway() throws {
        var pool = Pool(1) { $0.maximumWaiters = 1 }
        _ = try pool.openLease("acme")
        #expect(pool.ask("acme").actions == [])
        let refused = pool.ask("globex")
        #expect(refused.actions == [.fail(refused.waiter, .tooManyWaiters)])
    }

    @Test func aFailedOpeningFailsItsWaiterAndTriesForTheOthers() throws {
        var pool = Pool(1)
        let first = pool.ask("acme")
        let connection = try #require(first.actions.opened)
        let second = pool.ask("globex")
        let actions = pool.machine.openFailed(connection, at: pool.now)
        #expect(actions.first == .fail(first.waiter, .openFailed))
        let again = try #require(Array(actions.dropFirst()).opened)
        #expect(actions.last == .open(again, login: nil, for: second.waiter))
    }

    @Test func everyFailedOpeningFailsOneWaiter() throws {
        var pool = Pool(3)
        let asked = (0..<3).map { _ in pool.ask("acme") }
        for one in asked.reversed() {
            let connection = try #require(one.actions.opened)
            #expect(pool.machine.openFailed(connection, at: pool.now) == [.fail(one.waiter, .openFailed)])
        }
        #expect(pool.machine.live == 0)
    }

    @Test func whenTheServerTakesNoMoreAnIdleConnectionIsRelabelledInstead() throws {
        var pool = Pool(2)
        let acme = try pool.openIdle("acme")
        let asked = pool.ask("globex")
        let opening = try #require(asked.actions.opened)
        #expect(pool.machine.openFailed(opening, at: pool.now) == [.lease(asked.waiter, acme, relabel: true)])
    }
}

@Suite struct PoolRecyclingTests {
    @Test func idleConnectionsCloseAfterTheTimeout() throws {
        var pool = Pool(1) { $0.idleTimeout = .seconds(30) }
        let connection = try pool.openIdle("acme")
        #expect(pool.machine.nextDue() == pool.now + .seconds(30))
        #expect(pool.pass(.seconds(29)) == [])
        #expect(pool.pass(.seconds(1)) == [.close(connection, .idle)])
        #expect(pool.machine.nextDue() != nil)
        #expect(pool.closed(connection) == [])
        #expect(pool.machine.nextDue() == nil)
    }

    @Test func oldConnectionsCloseWhenIdleOrWhenTheyComeBack() throws {
        var pool = Pool(2) { $0.idleTimeout = .seconds(1000) }
        let idle = try pool.openLease("acme", age: .seconds(10))
        let leased = try pool.openLease("acme", age: .seconds(10))
        _ = pool.back(idle, "acme")
        #expect(pool.pass(.seconds(10)) == [.close(idle, .age)])
        #expect(pool.back(leased, "acme") == [.close(leased, .age)])
    }

    @Test func theJitterOnlyShortensALife() {
        let configuration = PoolStateMachine.Configuration(maximumConnections: 1)
        let now = ContinuousClock.now
        #expect(configuration.expiry(openedAt: now, random: 0) == now + .seconds(3600))
        #expect(configuration.expiry(openedAt: now, random: 1) == now + .seconds(3240))
    }

    @Test func aConnectionThatServedManyLabelsIsClosed() throws {
        var pool = Pool(1) { $0.maximumTenantsPerConnection = 3 }
        let connection = try pool.openIdle("a")
        for schema in ["b", "a", "b"] {
            #expect(pool.ask(schema).actions.served.count == 1)
            #expect(pool.back(connection, schema) == [])
        }
        _ = pool.ask("c")
        #expect(pool.back(connection, "c") == [.close(connection, .servedManyTenants)])
    }

    @Test func aDoubtfulConnectionIsClosedAndReplacedForWhoWaits() throws {
        var pool = Pool(1)
        let connection = try pool.openLease("acme")
        let waiting = pool.ask("acme")
        let actions = pool.machine.released(connection, outcome: .doubtful, at: pool.now)
        #expect(actions == [.close(connection, .doubtful)])
        let opened = try #require(pool.closed(connection).opened)
        #expect(pool.opened(opened).served == [waiting.waiter])
    }

    @Test func theLabelReallyHeldCounts() throws {
        var pool = Pool(2)
        let connection = try pool.openLease("acme")
        _ = pool.back(connection, "globex")
        let asked = pool.ask("globex")
        #expect(asked.actions == [.lease(asked.waiter, connection, relabel: false)])
        #expect(pool.back(connection, "globex", login: "other") == [.close(connection, .doubtful)])
    }

    @Test func aLostConnectionFreesItsPlaceInAnyState() throws {
        var pool = Pool(1)
        let idle = try pool.openIdle("acme")
        #expect(pool.closed(idle) == [])
        let leased = try pool.openLease("acme")
        let waiting = pool.ask("globex")
        let actions = pool.closed(leased)
        #expect(actions == [.open(try #require(actions.opened), login: nil, for: waiting.waiter)])
        #expect(pool.back(leased, "acme") == [])
        #expect(pool.closed(leased) == [])
    }

    @Test func labelsThatNobodyUsesAreForgotten() throws {
        var pool = Pool(1) { $0.maximumTenantsPerConnection = .max }
        let connection = try pool.openIdle("first")
        for index in 0..<10_000 {
            _ = pool.ask("tenant_\(index)")
            _ = pool.back(connection, "tenant_\(index)")
        }
        #expect(pool.machine.labels.count <= 1_100)
        #expect(pool.machine.tenants.count <= 1_100)
    }
}

@Suite struct PoolShutdownTests {
    @Test func gracefullyWaitersAreServedAndConnectionsCloseAsTheyComeBack() throws {
        var pool = Pool(2)
        let leased = try pool.openLease("acme")
        let idle = try pool.openIdle("acme")
        _ = pool.ask("acme")
        let waiting = pool.ask("globex")
        #expect(pool.machine.shutdown(graceful: true) == [])
        let late = pool.ask("acme")
        #expect(late.actions == [.fail(late.waiter, .shutDown)])
        #expect(pool.back(leased, "acme") == [.lease(waiting.waiter, leased, relabel: true)])
        #expect(pool.back(idle, "acme") == [.close(idle, .shutDown)])
        #expect(pool.back(leased, "globex") == [.close(leased, .shutDown)])
        #expect(!pool.machine.isFinished)
        _ = pool.closed(leased)
        _ = pool.closed(idle)
        #expect(pool.machine.isFinished)
    }

    @Test func gracefullyIdleConnectionsCloseAtOnce() throws {
        var pool = Pool(2)
        let idle = try pool.openIdle("acme")
        #expect(pool.machine.shutdown(graceful: true) == [.close(idle, .shutDown)])
        #expect(pool.machine.shutdown(graceful: true) == [])
    }

    @Test func atOnceEveryWaiterFailsAndEveryConnectionCloses() throws {
        var pool = Pool(3)
        let leased = try pool.openLease("acme")
        let idle = try pool.openIdle("globex")
        let opens = pool.ask("acme")
        let opening = try #require(opens.actions.opened)
        let actions = pool.machine.shutdown(graceful: false)
        #expect(actions.first == .fail(opens.waiter, .shutDown))
        let closes: [Action] = [leased, idle, opening].map { .close($0, .shutDown) }
        #expect(actions.count == 4)
        #expect(closes.allSatisfy { actions.contains($0) })
        #expect(pool.back(leased, "acme") == [])
        #expect(pool.opened(opening) == [])
        for connection in [leased, idle] { #expect(pool.closed(connection) == []) }
        #expect(pool.machine.openFailed(opening, at: pool.now) == [])
        #expect(pool.machine.isFinished)
    }

    @Test func anOpeningThatEndsAfterAGracefulShutdownIsClosed() throws {
        var pool = Pool(1)
        let asked = pool.ask("acme")
        let opening = try #require(asked.actions.opened)
        _ = pool.machine.shutdown(graceful: true)
        _ = pool.machine.cancel(asked.waiter)
        #expect(pool.opened(opening) == [.close(opening, .shutDown)])
    }
}

@Suite struct PostgresLabelTests {
    @Test func thePathIsTheQuotedSchemaThenTemporaryTables() {
        #expect(PostgresLabel(schema: "acme").searchPath == #""acme", pg_temp"#)
        #expect(PostgresLabel(schema: #"a"b"#).searchPath == #""a""b", pg_temp"#)
    }

    @Test func labelsAreEqualByTheirParts() {
        var label = PostgresLabel(schema: "acme", role: "r")
        #expect(label != PostgresLabel(schema: "acme"))
        #expect(label != PostgresLabel(schema: "acme", login: "r"))
        label.role = nil
        #expect(label == PostgresLabel(schema: "acme"))
        label.schema = "globex"
        label.login = "g"
        #expect(label == PostgresLabel(schema: "globex", login: "g"))
        #expect(label.hashValue == PostgresLabel(schema: "globex", login: "g").hashValue)
    }
}

@Suite struct PoolDistrustTests {
    @Test func idleConnectionsCloseAtOnceAndLeasedOnesWhenTheyComeBack() throws {
        var pool = Pool(3)
        let leased = try pool.openLease("acme")
        let idle = try pool.openIdle("globex")
        #expect(pool.machine.distrust() == [.close(idle, .doubtful)])
        #expect(pool.back(leased, "acme") == [.close(leased, .doubtful)])
        _ = pool.closed(idle)
        _ = pool.closed(leased)
        let fresh = try pool.openLease("acme")
        #expect(pool.back(fresh, "acme") == [])
    }

    @Test(arguments: [Double.nan, .infinity, -1, 2]) func anOddJitterDoesNotTrap(jitter: Double) {
        var configuration = PoolStateMachine.Configuration(maximumConnections: .max)
        configuration.ageJitter = jitter
        configuration.maximumAge = .seconds(Int64.max)
        configuration.idleTimeout = .seconds(Int64.max)
        let now = ContinuousClock.now
        #expect(configuration.expiry(openedAt: now, random: 1) >= now)
        #expect(PoolStateMachine(configuration).configuration.maximumConnections < .max)
    }
}

@Suite struct PoolConfigurationTests {
    @Test(arguments: [(1, 1), (2, 1), (3, 2), (4, 3), (8, 6), (10, 8), (100, 75)])
    func aQuarterOfTheBudgetIsLeftToTheOthers(budget: Int, cap: Int) {
        var configuration = PostgresPoolConfiguration(PostgresConfiguration())
        configuration.maximumConnections = budget
        #expect(configuration.tenantCap == cap)
        configuration.maximumPerTenant = budget
        #expect(configuration.tenantCap == budget)
    }
}
