import CloacinaPostgres
import Logging

extension TenantRemoval {
    // MARK: Out

    /// Shuts the logins. A tenant may alter its own login, and keep that open: its sessions are ended and the login is
    /// shut again, until that has worked.
    func disable(_ session: RemovalSession) async throws {
        let sql = session.target.sql
        try await session.change([
            RegistryQueries.setState(id: session.target.id, .removing), self.ledger.supersedeEarlier(),
            self.start(.disable), self.ledger.audit("tenant.removal_begun"),
        ])
        for membership in sql.membershipStatements { try await session.change([membership]) }
        for role in sql.roles {
            try await session.patiently {
                // Those that come after this stand behind us in the row's queue.
                try? await session.endSessions()
                try await self.connection.withTransaction { transaction in
                    _ = try await transaction.pipeline([
                        RemovalQueries.limits(lockTimeout: self.patience.lockTimeout()),
                        PostgresStatement(ddl: sql.shut(role)),
                    ])
                }
            }
        }
        try await session.change(
            (sql.revocationStatements + sql.connectStatements(database: self.connection.endpoint.database))
                .map(PostgresStatement.init(ddl:)) + self.notes(.disable, next: .sessions))
    }

    /// Ends the logins' sessions and waits until they are gone. No new ones can begin.
    func endSessions(_ session: RemovalSession) async throws {
        try await self.endFiles(session)
        let count = RemovalQueries.countSessions(of: session.target.roleOIDs)
        while true {
            try await session.endSessions()
            if try await self.connection.query(count).single(as: Int.self) == 0 { break }
            guard !self.patience.isOver() else {
                throw AdminError(
                    .busy,
                    "sessions of the tenant's logins did not end within \(self.patience.total); look at pg_stat_activity, "
                        + "then call again", tenant: self.name)
            }
            try await ContinuousClock().sleep(for: .milliseconds(20))
        }
        try await session.change(self.notes(.sessions, next: .prepared))
    }

    /// Ends the files of killed commands that are at it still, and drops the logins over which they run.
    private func endFiles(_ session: RemovalSession) async throws {
        guard let owner = session.target.sql.owner else { return }
        let logins: [String] = try await self.connection.query(MigratorSQL.abandoned(actingAs: owner)).column("name")
        for login in logins {
            let removal = MigratorRemoval(
                role: login, tenant: self.name, administrator: self.connection, connect: self.connect,
                logger: Logger(label: "cloacina.admin", factory: { _ in SwiftLogNoOpLogHandler() }))
            // One that can't be dropped is swept by a later command; what it has in the way is ended with the rest.
            _ = await removal.run(isGuarded: false)
        }
    }

    /// Rolls back what the tenant's roles prepared and nobody would ever commit.
    func rollBackPrepared(_ session: RemovalSession) async throws {
        try await session.rollBackPrepared()
        try await session.change(self.notes(.prepared, next: .largeObjects))
    }

    // MARK: Down

    func unlinkLargeObjects(_ session: RemovalSession, _ report: inout RemovalReport) async throws {
        report.unlinkedLargeObjects = try await self.belongings(session).unlinkLargeObjects()
        try await session.change(self.notes(.largeObjects, next: .dropSchema))
    }

    /// Drops the schema, in parts when all of it at once would exhaust the lock table.
    func dropSchema(_ session: RemovalSession, _ report: inout RemovalReport) async throws {
        if session.target.hasSchema, let schema = session.target.schemaOID {
            // Somebody may have made something of the tenant's since the check.
            let dependents = try await self.dependents(session.target)
            if !self.options.cascade { try dependents.check(tenant: self.name) }
            report.droppedDependents = dependents.names
            report.droppedDependentCount = dependents.count
            try await self.dropSchema(schema, session, &report)
        }
        try await session.change(self.notes(.dropSchema, next: .dropOwned))
    }

    private func dropSchema(_ schema: Int64, _ session: RemovalSession, _ report: inout RemovalReport) async throws {
        let sql = session.target.sql
        let facts = try await self.connection.pipeline([
            RemovalQueries.lockCapacity, RemovalQueries.countRelations(in: schema),
        ])
        var budget = try max(64, facts[0].single(as: Int.self) / 4)
        report.droppedRelations = try facts[1].single(as: Int.self)
        while true {
            let rows = try await self.connection.query(RemovalQueries.relations(in: schema))
            let chunks = SchemaRelation.chunks(try rows.map(SchemaRelation.init), budget: budget)
            do {
                if chunks.count <= 1, rows.count < RemovalQueries.batch {
                    try await session.change(sql.actAsOwner + [sql.dropSchemaStatement])
                    report.dropTransactions &+= 1
                    return
                }
                for chunk in chunks {
                    try await session.change(sql.actAsOwner + sql.drop(chunk))
                    report.dropTransactions &+= 1
                }
            } catch let error as PostgresError where error.sqlState == "53200" {
                guard budget > 1 else { throw session.lockTableIsFull(error) }
                budget /= 2
            }
        }
    }

    /// Drops what the roles own or were granted elsewhere in this database, and what tenants left to their group.
    func dropOwned(_ session: RemovalSession, _ report: inout RemovalReport) async throws {
        try await self.belongings(session).dropOwned()
        report.removedStrays &+= try await self.belongings(session).removeStrays()
        try await session.change(self.notes(.dropOwned, next: .elsewhere))
    }

    /// Removes what the roles hold in other databases, which a tenant may have added to until its logins were shut.
    func cleanElsewhere(_ session: RemovalSession, _ report: inout RemovalReport) async throws {
        let others = OtherDatabases(session: session, cascade: self.options.cascade)
        let cleaning = try await others.clean(try await others.find())
        report.cleanedDatabases = cleaning.databases
        report.unlinkedLargeObjects &+= cleaning.largeObjects
        report.removedStrays &+= cleaning.strays
        try await session.change(self.notes(.elsewhere, next: .dropRoles))
    }

    /// Drops the roles. Until then other tenants may grant them something again: that is taken back in the very transaction that
    /// drops them, and who does it time and again has its sessions ended.
    func dropRoles(_ session: RemovalSession) async throws {
        var before: Set<String> = []
        while true {
            let grantors = try await self.belongings(session).grantors()
            do {
                for grantor in grantors where before.contains(grantor.name) {
                    try? await session.endSessions(of: grantor.name)
                }
                try await session.change(
                    grantors.flatMap(self.belongings(session).takingBack)
                        + session.target.sql.dropRolesStatements.map(PostgresStatement.init(ddl:))
                        + self.notes(.dropRoles, next: .prove))
                return
            } catch let error as PostgresError where error.sqlState == "2BP01" {
                let others = OtherDatabases(session: session, cascade: self.options.cascade)
                let elsewhere = try await others.clean(try await others.find()).grantors
                let now = elsewhere.union(try await self.belongings(session).grantors().map(\.name))
                guard !now.union(grantors.map(\.name)).isEmpty, !self.patience.isOver() else {
                    throw try await self.incomplete(session, error)
                }
                before.formUnion(now)
            }
        }
    }

    private func incomplete(_ session: RemovalSession, _ error: PostgresError) async throws -> AdminError {
        let rows = try await session.read(OwnershipQueries.remainders(roles: session.target.roleOIDs))
        let left = try rows.map { row in
            "\(try row.value("role", as: String.self)): \(try row.value("object", as: String.self))"
        }
        return AdminError(
            .removalIncomplete,
            "roles of the tenant still own or were granted what only others can take from them (\(left.joined(separator: ", "))); "
                + "have whoever granted it run REVOKE ALL ON … FROM the role, or a superuser DROP OWNED BY it, in that "
                + "database, then call again", tenant: self.name, underlying: error)
    }

    private func belongings(_ session: RemovalSession) -> RoleBelongings {
        RoleBelongings(session: session, cascade: self.options.cascade)
    }

    // MARK: Gone

    /// Forgets the tenant and searches the catalogs, in one transaction: unless nothing is left, nothing is forgotten.
    func prove(_ session: RemovalSession, _ report: inout RemovalReport) async throws {
        report.proof = try await session.patiently { try await self.prove(session.target) }
        // A session that can't give its lease back must not keep it.
        if await !self.lease.release() { await self.connection.close() }
    }

    private func prove(_ target: RemovalTarget) async throws -> [RemovalReport.Check] {
        try await self.connection.withTransaction { transaction in
            let results = try await transaction.pipeline([
                RemovalQueries.limits(lockTimeout: self.patience.lockTimeout()),
                RegistryQueries.forget(id: target.id), self.ledger.finish(.prove), self.ledger.audit("tenant.removed"),
                ProofQueries.proof(of: target, serverVersion: self.connection.serverVersion),
            ])
            let checks = try results[4].map { row in
                RemovalReport.Check(catalog: try row.value("catalog"), remaining: try row.value("remaining"))
            }
            let left = checks.filter { $0.remaining > 0 }
            guard left.isEmpty else {
                let list = left.map { "\($0.catalog) (\($0.remaining))" }.joined(separator: ", ")
                throw AdminError(
                    .removalIncomplete,
                    "something of the tenant is left in \(list); call again, and look there if it stays",
                    tenant: self.name)
            }
            return checks
        }
    }
}
