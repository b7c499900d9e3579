/// The statements that a connection keeps prepared, the one unused longest giving way.
///
/// A statement is known by its text, the types of its binds and the label it was prepared under: a plan belongs to the
/// search path it was made for, and the server plans again at every change of path. Only the first labels of a connection
/// get statements of their own; the rest share theirs.
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
    private var entries: [Key: Entry] = [:]
    private var uses: UInt64 = 0
    private var namesGiven = 0

    init(capacity: Int) { self.capacity = max(1, capacity) }

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
        return "cloacina_\(self.namesGiven)"
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

    /// Forgets all statements; returns their names.
    mutating func removeAll() -> [String] {
        defer { self.entries.removeAll(keepingCapacity: true) }
        return self.entries.values.map(\.name)
    }
}
