import CloacinaPostgres

extension DatabaseAdmin {
    /// Removes a tenant for good: its sessions, schema, privileges and roles, and proves from the catalogs that all are
    /// gone.
    ///
    /// The logins are shut and their sessions ended before anything else. What the tenant left in other databases of the
    /// server, large objects for example, is removed there over connections with the same parameters. Each step is
    /// committed and in the ledger. A removal that stopped leaves the tenant as `removing`, logins shut, and the same call
    /// goes on from there. A schema or a role that is not the registered one is left alone.
    ///
    /// - Parameters:
    ///   - name: The tenant's name.
    ///   - cascade: Whether objects of others that depend on the tenant's, such as a view over its tables, are dropped
    ///     with them; refused by default.
    ///   - patience: How long, over all steps, it goes on trying what others hold up; the administrator's by default.
    /// - Throws: ``AdminError``. Before the first change: ``AdminError/Code/tenantNotFound``,
    ///   ``AdminError/Code/schemaReplaced``, ``AdminError/Code/insufficientPrivilege``,
    ///   ``AdminError/Code/dependentsExist``, ``AdminError/Code/usedElsewhere``. Later: ``AdminError/Code/busy`` (the
    ///   message lists who is in the way) or ``AdminError/Code/removalIncomplete``.
    @discardableResult
    public func removeTenant(
        named name: String, cascade: Bool = false, patience: Duration? = nil
    ) async throws -> RemovalReport {
        let name = try Self.registryName(name)
        return try await self.withConnection(tenant: name.rawValue) { connection in
            let removal = self.removal(
                of: name, on: connection, .init(patience: patience ?? self.patience, cascade: cascade), self.faults)
            do {
                return try await removal.run()
            } catch {
                let reported = removal.report(error)
                if await !removal.stop(after: reported) { await self.close() }
                throw reported
            }
        }
    }

    /// The statements that ``removeTenant(named:cascade:patience:)`` would run, and as comments what others would lose.
    /// Nothing is changed, and nobody is ended.
    ///
    /// - Parameters:
    ///   - name: The tenant's name.
    ///   - cascade: Whether what depends on the tenant's objects goes with them.
    ///   - patience: How long it goes on trying what others hold up; the administrator's by default.
    /// - Throws: ``AdminError``, as removing would, except for dependents.
    public func plannedSQL(
        removing name: String, cascade: Bool = false, patience: Duration? = nil
    ) async throws -> [String] {
        let name = try Self.registryName(name)
        return try await self.withConnection(tenant: name.rawValue) { connection in
            let options = TenantRemoval.Options(patience: patience ?? self.patience, cascade: cascade)
            return try await self.removal(of: name, on: connection, options, .none).plannedSQL()
        }
    }

    private nonisolated func removal(
        of name: TenantName, on connection: PostgresConnection, _ options: TenantRemoval.Options, _ faults: FaultPoints
    ) -> TenantRemoval {
        TenantRemoval(name, on: connection, options, faults: faults, connect: self.connector)
    }

    /// Opens connections to other databases of the server, with the same parameters.
    nonisolated var connector: RemovalSession.Connect {
        let (configuration, logger) = (self.configuration, self.logger)
        return { database in
            var other = configuration
            other.database = database
            return try await Self.open(other, logger)
        }
    }

    /// A name that breaks the grammar cannot be in the registry.
    static func registryName(_ name: String) throws(AdminError) -> TenantName {
        guard let name = try? TenantName(name) else { throw AdminError.noTenant(name) }
        return name
    }
}
