import CloacinaPostgres

/// A relation of a tenant's schema that can be dropped on its own, with the number of locks that takes.
struct SchemaRelation: Sendable, Hashable {
    let name: String
    /// What `DROP` calls it: `TABLE`, `VIEW`, …
    let kind: String
    let locks: Int

    /// Splits relations so that no part takes more than `budget` locks, unless a single one does.
    static func chunks(_ relations: [SchemaRelation], budget: Int) -> [[SchemaRelation]] {
        var chunks: [[SchemaRelation]] = []
        var locks = 0
        for relation in relations {
            if chunks.isEmpty || locks + relation.locks > budget {
                chunks.append([])
                locks = 0
            }
            chunks[chunks.count - 1].append(relation)
            locks += relation.locks
        }
        return chunks
    }
}

extension SchemaRelation {
    /// Reads a row of ``RemovalQueries/relations(in:)``.
    init(_ row: PostgresRow) throws {
        self.init(name: try row.value("name"), kind: try row.value("kind"), locks: try row.value("locks"))
    }
}
