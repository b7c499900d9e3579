import CloacinaPostgres

/// The statements that unmake one tenant, for those of its roles that are still there.
struct RemovalSQL: Sendable {
    let schema: String
    let owner: String?
    let runtime: String?
    let logins: [String]
    let serviceRole: String
    let serverVersion: Int

    private var all: [String] { self.logins + [self.runtime, self.owner].compactMap { $0 } }

    /// Shuts the logins, takes the service login's membership, and lets the administrator act as each role.
    var disableStatements: [String] {
        self.logins.map { "ALTER ROLE \(self.quote($0)) NOLOGIN" }
            + [self.runtime].compactMap { $0 }.map { "REVOKE \(self.quote($0)) FROM \(self.quote(self.serviceRole))" }
            + self.all.map { MembershipSQL.grant($0, to: "CURRENT_USER", serverVersion: self.serverVersion) }
    }

    /// Acts as the schema's owner, or as the administrator when the owner is gone.
    var actAsOwner: [String] { self.owner.map { ["SET LOCAL ROLE \(self.quote($0))"] } ?? [] }

    /// Drops the schema with what is left in it.
    var dropSchemaStatement: String { "DROP SCHEMA \(self.quote(self.schema)) CASCADE" }

    /// Drops relations of one kind.
    func drop(_ relations: [SchemaRelation]) -> [String] {
        let kinds = Dictionary(grouping: relations, by: \.kind)
        return kinds.keys.sorted().map { kind in
            let names = (kinds[kind] ?? []).map { "\(self.quote(self.schema)).\(self.quote($0.name))" }
            return "DROP \(kind) IF EXISTS \(names.joined(separator: ", ")) CASCADE"
        }
    }

    /// Drops what the roles own or were granted elsewhere in the database, large objects included.
    var dropOwnedStatements: [String] {
        self.all.flatMap { ["SET LOCAL ROLE \(self.quote($0))", "DROP OWNED BY \(self.quote($0))"] }
            + (self.all.isEmpty ? [] : ["SET LOCAL ROLE NONE"])
    }

    /// Drops the roles.
    var dropRolesStatements: [String] {
        self.all.isEmpty ? [] : ["DROP ROLE " + self.all.map(self.quote).joined(separator: ", ")]
    }

    private func quote(_ name: String) -> String { PostgresIdentifier.quote(name) }
}

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
