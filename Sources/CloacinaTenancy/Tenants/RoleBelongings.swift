import CloacinaPostgres

/// What a tenant's roles hold in the database of one session, and the removal of it.
struct RoleBelongings: Sendable {
    let session: RemovalSession
    /// Whether what others made of it goes with it.
    let cascade: Bool

    /// The most large objects that one transaction unlinks; each takes a lock.
    private static let largestPart: Int64 = 1000

    private var sql: RemovalSQL { self.session.target.sql }

    /// Unlinks the large objects of the tenant's roles and says how many there were.
    func unlinkLargeObjects() async throws -> Int { try await self.unlinkLargeObjects(of: self.session.target.roles) }

    /// Unlinks large objects in parts that fit the lock table: one transaction for all of them would not.
    private func unlinkLargeObjects(of roles: [String]) async throws -> Int {
        guard !roles.isEmpty else { return 0 }
        let connection = self.session.connection
        let found = try await connection.pipeline([
            OwnershipQueries.largeObjectOwners(roles), RemovalQueries.lockCapacity,
        ])
        var part = try min(Self.largestPart, max(16, found[1].single(as: Int64.self) / 4))
        var count = 0
        for row in found[0] {
            let role: String = try row.value("name")
            let act: [String]
            if try row.value("as_owner") {
                act = [self.sql.act(as: role)]
            } else if try row.value("as_administrator") {
                act = []
            } else {
                // Nobody may call it: `DROP OWNED` has to do, in one piece.
                continue
            }
            var last: Int64 = 0
            while true {
                let unlink = OwnershipQueries.unlinkLargeObjects(of: role, after: last, limit: part)
                do {
                    let results = try await self.session.change(act.map(PostgresStatement.init(ddl:)) + [unlink])
                    let unlinked: Int = try results[act.count].single("unlinked")
                    guard unlinked > 0, let next: Int64 = try results[act.count].single("last", as: Int64?.self) else {
                        break
                    }
                    count &+= unlinked
                    last = next
                } catch let error as PostgresError where error.sqlState == "53200" {
                    guard part > 1 else { throw self.session.lockTableIsFull(error) }
                    part /= 2
                }
            }
        }
        return count
    }

    /// Drops what the roles own, acting as each, and takes what was granted to them, acting as the administrator, who may
    /// be the one who granted it, or as other tenants that did.
    ///
    /// - Returns: The other tenants' roles that had granted something.
    @discardableResult
    func dropOwned() async throws -> [String] {
        for role in self.session.target.roles {
            try await self.dropOwned(by: role, as: [self.sql.act(as: role)])
        }
        let inherited: [String] = try await self.session
            .read(OwnershipQueries.inherited(self.session.target.roles)).column("name")
        for role in inherited { try await self.dropOwned(by: role, as: []) }
        let grantors = try await self.grantors()
        for grantor in grantors { try await self.session.change(self.takingBack(from: grantor)) }
        return grantors.map(\.name)
    }

    /// A role of another tenant's, which can grant whatever it makes, such as a large object, to this one's roles: without that
    /// grant taken back they can't be dropped.
    struct Grantor: Sendable, Hashable {
        let name: String
        /// Whether the administrator may act as it already.
        let mayAct: Bool
    }

    /// The roles of other tenants that may have granted something here.
    func grantors() async throws -> [Grantor] {
        let target = self.session.target
        guard !target.roles.isEmpty else { return [] }
        let found = try await self.session.read(
            OwnershipQueries.grantors(to: target.roleOIDs, serverVersion: target.sql.serverVersion)
        ).map { Grantor(name: try $0.value("name"), mayAct: try $0.value("may_act")) }
        guard !found.isEmpty else { return [] }
        let others: [String] = try await self.session.registry
            .query(OwnershipQueries.others(among: found.map(\.name), than: target.id)).column("name")
        return found.filter { others.contains($0.name) }
    }

    /// The statements that take back what one of them granted here.
    func takingBack(from grantor: Grantor) -> [PostgresStatement] {
        self.sql.takingBack(from: grantor.name, mayAct: grantor.mayAct).map(PostgresStatement.init(ddl:))
    }

    private func dropOwned(by role: String, as act: [String]) async throws {
        do {
            try await self.session.change(act + [self.sql.dropOwned(by: role, cascade: self.cascade)])
        } catch let error as PostgresError where error.sqlState == "53200" {
            throw self.session.lockTableIsFull(error)
        } catch let error as PostgresError where error.sqlState == "2BP01" {
            throw AdminError(
                .removalIncomplete,
                "others' objects depend on what \(role) owns in the database \(self.session.connection.endpoint.database); "
                    + "drop those, or have them dropped as well (--cascade)", tenant: self.session.target.name,
                underlying: error)
        }
    }

    /// Removes what the group of all tenants' logins owns here, and says how much that was.
    ///
    /// The group keeps what it was granted: it acts for itself, and others granted it.
    func removeStrays() async throws -> Int {
        let group = self.session.target.tenantsRole
        let owned: Int = try await self.session.read(OwnershipQueries.countOwned(by: group)).single()
        guard owned > 0 else { return 0 }
        try await self.session.joinGroup()
        _ = try await self.unlinkLargeObjects(of: [group])
        try await self.dropOwned(by: group, as: [self.sql.act(as: group)])
        return owned
    }
}

extension RemovalSession {
    func lockTableIsFull(_ error: PostgresError) -> AdminError {
        AdminError(
            .removalIncomplete,
            "the server's lock table is full; raise max_locks_per_transaction or try when less is going on",
            tenant: self.target.name, underlying: error)
    }
}
