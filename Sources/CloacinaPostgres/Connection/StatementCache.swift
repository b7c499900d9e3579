/// The statements that a connection keeps prepared, the one unused longest giving way.
///
/// A statement is known by its text, the types of its binds and the label it was prepared under: a plan belongs to the
/// search path it was made for, and the types of its binds and columns are that tenant's. Labels share none; see
/// ``LabelPlans``.
struct StatementCache {
    struct Key: Hashable {
        var label: Int
        var types: [UInt32]
        var sql: String
    }

    private struct Entry {
        var name: String
        var lastUse: UInt64
    }

    let capacity: Int
    private let prefix: String
    private var entries: [Key: Entry] = [:]
    private var uses: UInt64 = 0
    private var namesGiven = 0

    /// - Parameter prefix: What the server's names begin with; one of its own where other clients may get the session.
    init(capacity: Int, prefix: String = "cloacina_") {
        self.capacity = max(1, capacity)
        self.prefix = prefix
    }

    var count: Int { self.entries.count }

    /// The server's name of a prepared statement, if it is prepared.
    mutating func name(for key: Key) -> String? {
        guard let index = self.entries.index(forKey: key) else { return nil }
        self.uses += 1
        self.entries.values[index].lastUse = self.uses
        return self.entries.values[index].name
    }

    /// A name never used before on this connection.
    mutating func makeName() -> String {
        self.namesGiven += 1
        return "\(self.prefix)\(self.namesGiven)"
    }

    /// Remembers a prepared statement; returns the name of one that gave way and must be deallocated.
    mutating func insert(_ key: Key, name: String) -> String? {
        self.uses += 1
        var evicted: String?
        if self.entries.count >= self.capacity,
            let oldest = self.entries.min(by: { $0.value.lastUse < $1.value.lastUse })
        {
            evicted = oldest.value.name
            self.entries[oldest.key] = nil
        }
        self.entries[key] = Entry(name: name, lastUse: self.uses)
        return evicted
    }

    /// Forgets the statements of one label; returns their names.
    mutating func removeAll(label: Int) -> [String] {
        let keys = self.entries.keys.filter { $0.label == label }
        return keys.compactMap { self.entries.removeValue(forKey: $0)?.name }
    }

    /// Forgets all statements; returns their names.
    mutating func removeAll() -> [String] {
        defer { self.entries.removeAll(keepingCapacity: true) }
        return self.entries.values.map(\.name)
    }
}
