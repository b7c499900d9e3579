import HeapModule

extension PoolStateMachine {
    /// Stands for "no index".
    static var none: Int { -1 }

    struct Connection {
        enum Phase: UInt8, Sendable {
            case free, opening, idle, leased, closing
        }

        var phase = Phase.free
        var generation = 0
        /// See ``PoolStateMachine/distrust()``.
        var epoch: UInt64 = 0
        var login = PoolStateMachine.none
        /// What the connection is set to, or will be by the lease it is in.
        var label = PoolStateMachine.none
        /// The lane that the connection, or the place it leaves, is promised to.
        var lane = PoolStateMachine.none
        /// Whether it is being opened or closed for nobody.
        var isUnpromised = false
        var openedFor: WaiterID?
        var idleSince: Instant?
        var expiresAt: Instant?
        /// Fingerprints of the labels served.
        var served: Set<Int> = []
        /// How often in a row affinity kept the connection from somebody who waited longer.
        var streak = 0
        /// The ready lanes that this connection served last, so that its backend knows their tenants' tables.
        var known = Heap<Rank>()
    }

    struct Waiter {
        var id: WaiterID
        var label: Int
        var lane: Int
        var sequence: UInt64
    }

    /// The waiters of one tenant for one login, first come first served. Exists while somebody waits in it.
    struct Lane {
        var tenant: Int
        var login: Int
        var queue = List()
        /// Connections on their way to this lane; never more than waiters.
        var promises = List()
        var next: Int
        /// What an entry of a heap must carry to be current.
        var stamp: UInt64 = 0
    }

    struct Label {
        var tenant: Int
        var login: Int
        var references = 0
        /// Idle connections with this label, the latest used last.
        var idle = List()
        /// The connection that served it last; see ``PoolStateMachine/home(of:)``.
        var home: ConnectionID?
    }

    struct Tenant {
        var labels = 0
        var leased = 0
        var promised = 0
        var waiting = 0
        var firstLane = PoolStateMachine.none
        /// How often affinity let others go first while it was the first.
        var passedOver = 0
        /// By how much the tenant is put back because it was served before its turn; and after the service that comes now.
        var lead: UInt64 = 0
        var nextLead: UInt64 = 0
        /// When the tenant began to wait, or last got or gave back a connection, whichever is later.
        var since: UInt64 = 0

        var share: Int { self.leased + self.promised }
    }

    struct Login {
        var labels = 0
        var connections = 0
        /// Idle connections of this login, the longest idle first.
        var idle = List()
        /// Those of them with no label.
        var unlabelled = List()
        /// Connections being opened that are promised to nobody any more.
        var unpromisedOpenings = List()
        var waitingLanes = 0
        /// The lanes that could take a connection of this login.
        var ready = Heap<Rank>()
    }

    /// The order in which lanes are served.
    struct Rank: Comparable {
        var share: Int
        var since: UInt64
        var sequence: UInt64
        var lane: Int
        var stamp: UInt64

        static func < (left: Self, right: Self) -> Bool {
            if left.share != right.share { return left.share < right.share }
            if left.since != right.since { return left.since < right.since }
            return left.sequence < right.sequence
        }
    }

    /// Something that happens at a time.
    struct Due<Subject: Hashable & Sendable>: Comparable {
        var at: Instant
        var subject: Subject

        static func < (left: Self, right: Self) -> Bool { left.at < right.at }
    }

    /// Both ends of a chain in a ``Links`` table.
    struct List {
        var head = PoolStateMachine.none
        var tail = PoolStateMachine.none
        var count = 0

        var isEmpty: Bool { self.count == 0 }
    }

    /// Chains of indices: append and remove take constant time, and an index is in at most one chain of a table.
    struct Links {
        private var links: [(previous: Int, next: Int)] = []

        mutating func append(_ index: Int, to list: inout List) {
            while self.links.count <= index { self.links.append((PoolStateMachine.none, PoolStateMachine.none)) }
            self.links[index] = (list.tail, PoolStateMachine.none)
            if list.tail == PoolStateMachine.none { list.head = index } else { self.links[list.tail].next = index }
            list.tail = index
            list.count += 1
        }

        mutating func remove(_ index: Int, from list: inout List) {
            let (previous, next) = self.links[index]
            if previous == PoolStateMachine.none { list.head = next } else { self.links[previous].next = next }
            if next == PoolStateMachine.none { list.tail = previous } else { self.links[next].previous = previous }
            list.count -= 1
        }

        func indices(of list: List) -> [Int] {
            var result: [Int] = []
            var index = list.head
            while index != PoolStateMachine.none {
                result.append(index)
                index = self.links[index].next
            }
            return result
        }
    }

    /// Gives keys small indices, which stay valid until the entry is removed.
    struct InternTable<Key: Hashable, Value> {
        private var indexOfKey: [Key: Int] = [:]
        private var keys: [Key] = []
        private var values: [Value] = []
        private var free: [Int] = []

        var count: Int { self.indexOfKey.count }
        var indices: Dictionary<Key, Int>.Values { self.indexOfKey.values }

        subscript(index: Int) -> Value {
            get { self.values[index] }
            _modify { yield &self.values[index] }
        }

        func index(of key: Key) -> Int? { self.indexOfKey[key] }

        func key(at index: Int) -> Key { self.keys[index] }

        mutating func insert(_ key: Key, _ value: Value) -> Int {
            let index = self.free.popLast() ?? self.keys.count
            if index == self.keys.count {
                self.keys.append(key)
                self.values.append(value)
            } else {
                self.keys[index] = key
                self.values[index] = value
            }
            self.indexOfKey[key] = index
            return index
        }

        mutating func remove(at index: Int) {
            self.indexOfKey[self.keys[index]] = nil
            self.free.append(index)
        }
    }
}

// MARK: Labels

extension PoolStateMachine {
    /// How many labels without connections and waiters are remembered.
    static var dormantLabelLimit: Int { 1024 }

    mutating func intern(_ label: PostgresLabel) -> Int {
        if let index = self.labels.index(of: label) { return index }
        if self.dormantLabels >= Self.dormantLabelLimit { self.forgetDormantLabels() }
        let tenant = self.tenants.index(of: label.schema) ?? self.tenants.insert(label.schema, Tenant())
        let login = self.logins.index(of: label.login) ?? self.logins.insert(label.login, Login())
        self.tenants[tenant].labels += 1
        self.logins[login].labels += 1
        self.dormantLabels += 1
        return self.labels.insert(label, Label(tenant: tenant, login: login))
    }

    mutating func retain(_ label: Int) {
        if self.labels[label].references == 0 { self.dormantLabels -= 1 }
        self.labels[label].references += 1
    }

    mutating func release(_ label: Int) {
        self.labels[label].references -= 1
        if self.labels[label].references == 0 { self.dormantLabels += 1 }
    }

    /// Costs time in proportion to the labels, but only after as many came and went as it forgets.
    private mutating func forgetDormantLabels() {
        for index in Array(self.labels.indices) where self.labels[index].references == 0 {
            let label = self.labels[index]
            self.labels.remove(at: index)
            self.tenants[label.tenant].labels -= 1
            if self.tenants[label.tenant].labels == 0 { self.tenants.remove(at: label.tenant) }
            self.logins[label.login].labels -= 1
            if self.logins[label.login].labels == 0, self.logins[label.login].connections == 0 {
                self.logins.remove(at: label.login)
            }
        }
        self.dormantLabels = 0
    }
}
