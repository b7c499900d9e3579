import CloacinaPostgres

/// The other databases of the server in which the tenant's roles hold something: roles belong to the server, and any login
/// may connect to a database that is not closed to PUBLIC.
struct OtherDatabases: Sendable {
    struct Found: Sendable, Hashable {
        let name: String
        /// Whether the tenant's own roles hold something there; otherwise it is the group of all tenants' logins.
        let isTenants: Bool
    }

    let session: RemovalSession
    let cascade: Bool

    /// What removing did elsewhere.
    struct Cleaning: Sendable, Hashable {
        var databases: [String] = []
        var largeObjects = 0
        var strays = 0
        /// Other tenants' roles that had granted something there.
        var grantors: Set<String> = []
    }

    private var target: RemovalTarget { self.session.target }

    func find() async throws -> [Found] {
        let query = OwnershipQueries.otherDatabases(roles: self.target.roleOIDs, group: self.target.tenantsRole)
        return try await self.session.read(query).map { row in
            Found(name: try row.value("name"), isTenants: try row.value("is_tenants"))
        }
    }

    /// Checks that each can be cleaned, and that none is another installation whose tenant goes by these very roles.
    ///
    /// - Throws: ``AdminError`` with ``AdminError/Code/usedElsewhere``, which names the database.
    func check(_ found: [Found]) async throws {
        for database in found where database.isTenants {
            try await self.visit(database.name) { try await self.checkRegistry($0) }
        }
    }

    /// Removes what the roles hold in each.
    func clean(_ found: [Found]) async throws -> Cleaning {
        var cleaning = Cleaning()
        for database in found {
            do {
                try await self.visit(database.name) { connection in
                    try await self.clean(database, over: connection, &cleaning)
                }
            } catch {
                // What other tenants left there holds up nothing.
                if database.isTenants { throw error }
            }
        }
        return cleaning
    }

    private func clean(
        _ database: Found, over connection: PostgresConnection, _ cleaning: inout Cleaning
    ) async throws {
        let belongings = RoleBelongings(session: self.session.on(connection), cascade: self.cascade)
        if database.isTenants {
            try await self.checkRegistry(connection)
            cleaning.largeObjects &+= try await belongings.unlinkLargeObjects()
            cleaning.grantors.formUnion(try await belongings.dropOwned())
            cleaning.databases.append(database.name)
        }
        // Another installation sees to its own tenants' leavings.
        guard try await !connection.query(OwnershipQueries.registry).single(as: Bool.self) else { return }
        let strays = try await belongings.removeStrays()
        cleaning.strays &+= strays
        if strays > 0, !database.isTenants { cleaning.databases.append(database.name) }
    }

    private func checkRegistry(_ connection: PostgresConnection) async throws {
        guard try await connection.query(OwnershipQueries.registry).single(as: Bool.self) else { return }
        let database = connection.endpoint.database
        let results: [PostgresRows]
        do {
            results = try await connection.transactionBlock(
                OwnershipQueries.tenant(withRoles: self.target.roleOIDs, named: self.target.roleNames),
                isolation: .readCommitted)
        } catch {
            // Which row it has, which columns, and what is in its place, is its owner's to say.
            guard error.code == .rejectedByServer else { throw error }
            let reason =
                error.sqlState == FleetQueries.assertionFailure
                ? "of which the table cloacina.tenants may run somebody's code or is not this login's"
                : "which this login can't read"
            throw AdminError(
                .usedElsewhere,
                "the database \(database) has tenants of its own, \(reason), and the roles of this tenant hold something "
                    + "there; nothing was changed: log in as the administrator of both, or where there is no installation of this "
                    + "library, have the database's owner DROP SCHEMA cloacina",
                tenant: self.target.name, underlying: error)
        }
        guard let user: String = try results.last?.first?.value("name") else { return }
        throw AdminError(
            .usedElsewhere,
            "the tenant \(user) of the database \(database) uses these very roles, so that one of the two databases is a "
                + "copy of the other; nothing was changed: DROP DATABASE the one that is to go, or take this one's data "
                + "away alone by DROP SCHEMA \(PostgresIdentifier.quote(self.target.schema)) CASCADE",
            tenant: self.target.name)
    }

    private func visit<R>(_ database: String, _ body: (PostgresConnection) async throws -> R) async throws -> R {
        let connection: PostgresConnection
        do {
            connection = try await self.session.open(database)
        } catch {
            let code = (error as? PostgresError)?.code
            if error is CancellationError || code == .cancelled || code == .deadlineExceeded { throw error }
            throw self.unreachable(database, error)
        }
        do {
            let result = try await body(connection)
            await connection.close()
            return result
        } catch {
            await connection.close()
            throw error
        }
    }

    private func unreachable(_ database: String, _ error: any Error) -> AdminError {
        let roles = self.target.roles.map(PostgresIdentifier.quote).joined(separator: ", ")
        return AdminError(
            .usedElsewhere,
            "the roles of the tenant hold something in the database \(database), which can't be connected to as this "
                + "login; look at it there, and if it may go, run as a superuser: psql --dbname="
                + "\(PostgresIdentifier.quote(database)) --command='DROP OWNED BY \(roles)'",
            tenant: self.target.name, underlying: error)
    }
}
