import CloacinaPostgres

/// Keeps a copy of a database from changing the roles of the original: roles belong to the server, so that both registries have the
/// same ones.
struct CopiedDatabase: Sendable {
    let connection: PostgresConnection
    let connect: RemovalSession.Connect

    /// Checks that changing a tenant's roles changes nobody else's.
    ///
    /// The registry has the OID of the database that a tenant was registered in, which no copy has. So the original is known,
    /// and goes on although there is a copy; unless that lets the tenant's logins in, and so may have taken its place.
    /// - Throws: ``AdminError`` with ``AdminError/Code/usedElsewhere``, which names the other database.
    func check(_ name: String) async throws {
        let roles = TenantRoles(try DatabaseAdmin.registryName(name))
        guard let row = try await self.connection.query(RegistryQueries.tenant(named: name)).first,
            try await !self.connection.query(OwnershipQueries.isOriginal(name, runtime: roles.runtime)).single(
                as: Bool.self)
        else { return }
        let session = try await RemovalSession(
            of: name, schema: try row.value("schema_name"), on: self.connection, connect: self.connect,
            patience: RemovalPatience(.seconds(10)))
        try await self.check(session)
    }

    /// Checks that the roles of a tenant's names are no other database's tenant's.
    func check(_ survey: TenantSurvey, _ name: String, _ roles: TenantRoles, patience: RemovalPatience) async throws {
        try await self.check(
            RemovalSession(
                of: survey, name, roles, on: self.connection, connect: self.connect, patience: patience))
    }

    private func check(_ session: RemovalSession) async throws {
        let others = OtherDatabases(session: session, cascade: false)
        try await others.check(try await others.find())
    }
}

extension RemovalSession {
    /// A session about a tenant of the registry's, with the roles that go by its names now.
    init(
        of name: String, schema: String, on connection: PostgresConnection, connect: @escaping Connect,
        patience: RemovalPatience
    ) async throws {
        let roles = TenantRoles(try DatabaseAdmin.registryName(name))
        let rows = try await connection.query(
            RegistryQueries.survey(name: name, schema: schema, roles: roles.all))
        try self.init(
            of: TenantSurvey(rows[0]), name, roles, on: connection, connect: connect, patience: patience)
    }

    init(
        of survey: TenantSurvey, _ name: String, _ roles: TenantRoles, on connection: PostgresConnection,
        connect: @escaping Connect, patience: RemovalPatience
    ) throws {
        var found = survey
        found.registered?.roleOIDs = roles.all.compactMap { survey.foundRoles[$0] }
        self.init(
            connection: connection,
            target: try RemovalTarget(
                found, name: name, roles: roles, serverVersion: connection.serverVersion),
            patience: patience, connect: connect, tally: RemovalTally())
    }
}
