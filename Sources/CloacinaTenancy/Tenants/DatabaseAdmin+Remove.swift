extension DatabaseAdmin {
    /// Removes a tenant for good: its sessions, schema, privileges and roles, and proves from the catalogs that all are
    /// gone.
    ///
    /// Each step is committed and in the ledger. A removal that stopped leaves the tenant as `removing`, logins shut, and
    /// the same call goes on from there. A schema that is not the registered one is left alone.
    ///
    /// - Throws: ``AdminError`` with ``AdminError/Code/tenantNotFound``, ``AdminError/Code/schemaReplaced``,
    ///   ``AdminError/Code/busy`` (the message lists who is in the way) or ``AdminError/Code/removalIncomplete``.
    @discardableResult
    public func removeTenant(named name: String) async throws -> RemovalReport {
        let name = try Self.registryName(name)
        return try await self.withConnection(tenant: name.rawValue) { connection in
            let removal = TenantRemoval(name, on: connection, patience: self.patience, faults: self.faults)
            do {
                return try await removal.run()
            } catch {
                let reported = removal.report(error)
                if await !removal.stop(after: reported) { await self.close() }
                throw reported
            }
        }
    }

    /// The statements that ``removeTenant(named:)`` would run. Nothing is changed.
    ///
    /// - Throws: ``AdminError``, as removing would.
    public func plannedSQL(removing name: String) async throws -> [String] {
        let name = try Self.registryName(name)
        return try await self.withConnection(tenant: name.rawValue) { connection in
            try await TenantRemoval(name, on: connection, patience: self.patience, faults: .none).plannedSQL()
        }
    }

    /// A name that breaks the grammar cannot be in the registry.
    static func registryName(_ name: String) throws(AdminError) -> TenantName {
        guard let name = try? TenantName(name) else { throw AdminError.noTenant(name) }
        return name
    }
}
