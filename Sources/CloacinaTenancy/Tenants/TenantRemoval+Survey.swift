import CloacinaPostgres

extension TenantRemoval {
    /// Looks at the registry's row and at what the catalogs have under its names.
    ///
    /// - Throws: ``AdminError`` when there is no such tenant, or a name is by now somebody else's.
    func survey() async throws -> RemovalTarget {
        guard let row = try await self.connection.query(RegistryQueries.tenant(named: self.name)).first else {
            throw AdminError.noTenant(self.name)
        }
        let schema: String = try row.value("schema_name")
        let found = try await self.connection.query(
            RegistryQueries.survey(name: self.name, schema: schema, roles: self.roles.all))
        let survey = try TenantSurvey(found[0])
        let target = try RemovalTarget(
            survey, name: self.name, roles: self.roles, serverVersion: self.connection.serverVersion)
        try survey.checkIdentity(name: self.name)
        return target
    }

    /// Refuses what could not be carried through, before anything is changed.
    func check(_ session: RemovalSession) async throws {
        let target = session.target
        try await AdminOption.check(target.roles, of: target.name, on: self.connection)
        if !self.options.cascade { try await self.dependents(target).check(tenant: self.name) }
        try await self.checkShared(session)
        let others = OtherDatabases(session: session, cascade: self.options.cascade)
        try await others.check(try await others.find())
    }

    /// What others made of the tenant's things, outside its schema.
    func dependents(_ target: RemovalTarget) async throws -> RemovalDependents {
        guard target.hasSchema, let schema = target.schemaOID else { return .none }
        return try RemovalDependents(
            try await self.connection.query(DependentQueries.dependents(of: schema, roles: target.roleOIDs)))
    }

    /// Refuses when the roles own or were granted what belongs to the whole server and the administrator can't take.
    private func checkShared(_ session: RemovalSession) async throws {
        let rows = try await session.read(OwnershipQueries.sharedObstacles(roles: session.target.roleOIDs))
        let ways = try rows.map { row in
            let role = PostgresIdentifier.quote(try row.value("role"))
            let object: String = try row.value("object")
            if try row.value("is_owner", as: Bool.self) {
                return "\(role) owns the \(object), which needs another owner"
            }
            let revoke = "REVOKE ALL ON \(object) FROM \(role)"
            // What a superuser revokes is what the owner granted.
            let grantors = try row.value("grantors", as: [String].self).map(PostgresIdentifier.quote)
            return grantors.isEmpty
                ? revoke : grantors.map { "SET ROLE \($0); \(revoke); RESET ROLE" }.joined(separator: "; ")
        }
        guard !ways.isEmpty else { return }
        throw AdminError(
            .usedElsewhere,
            "the tenant's roles hold what only others can take from them; nothing was changed: as a superuser, "
                + ways.joined(separator: "; "), tenant: self.name)
    }

    /// The statements that ``run()`` would run, and as comments what they would do to others.
    func plannedSQL() async throws -> [String] {
        let target = try await self.survey()
        var session = self.session(target)
        session.endsNobody = true
        try await AdminOption.check(target.roles, of: target.name, on: self.connection)
        try await self.checkShared(session)
        let dependents = try await self.dependents(target)
        let others = OtherDatabases(session: session, cascade: self.options.cascade)
        let databases = try await others.find()
        try await others.check(databases)
        return Self.plan(target, dependents, databases.map(\.name), cascade: self.options.cascade)
    }

    /// Writes the plan down.
    static func plan(
        _ target: RemovalTarget, _ dependents: RemovalDependents, _ databases: [String], cascade: Bool
    ) -> [String] {
        let sql = target.sql
        var plan: [String] = []
        if dependents.count > 0 {
            plan.append(
                (cascade
                    ? "-- dropped as well, though others': "
                    : "-- refused without --cascade, since others would lose: ")
                    + dependents.description)
        }
        plan += ["BEGIN"] + sql.membershipStatements + sql.roles.map(sql.shut) + sql.revocationStatements + ["COMMIT"]
        for role in sql.roles {
            plan += ["BEGIN", sql.act(as: role), PlannedSQL.text(of: RemovalQueries.endSessions(of: role)), "COMMIT"]
        }
        plan += Self.plan(unlinking: sql)
        if target.hasSchema {
            plan += ["BEGIN"] + sql.actAsOwner + [sql.dropSchemaStatement, "COMMIT"]
        }
        plan += Self.plan(droppingOwned: sql, cascade: cascade)
        for database in databases {
            plan.append("-- in the database \(database):")
            plan += Self.plan(unlinking: sql) + Self.plan(droppingOwned: sql, cascade: cascade)
        }
        return plan + sql.dropRolesStatements + [PlannedSQL.text(of: RegistryQueries.forget(id: target.id))]
    }

    private static func plan(unlinking sql: RemovalSQL) -> [String] {
        sql.roles.flatMap { role in
            let unlink = OwnershipQueries.unlinkLargeObjects(of: role, after: 0, limit: RemovalQueries.batch)
            return ["BEGIN", sql.act(as: role), PlannedSQL.text(of: unlink), "COMMIT"]
        }
    }

    private static func plan(droppingOwned sql: RemovalSQL, cascade: Bool) -> [String] {
        sql.roles.flatMap { ["BEGIN", sql.act(as: $0), sql.dropOwned(by: $0, cascade: cascade), "COMMIT"] }
    }
}
