extension DatabaseAdmin {
    /// Takes over the schema and the roles that go by a tenant's names, after a restore or an upgrade gave them new OIDs.
    ///
    /// The schema's owner must be the tenant's owner role, and the roles what a tenant's are. Memberships that the restore
    /// lost are granted again. A tenant that was adopted, or never moved, is left as it is.
    ///
    /// - Returns: The tenant.
    /// - Throws: ``AdminError`` with ``AdminError/Code/tenantNotFound``, ``AdminError/Code/schemaReplaced`` (the message
    ///   says what is missing or somebody else's), ``AdminError/Code/insufficientPrivilege`` with the GRANT that a superuser
    ///   must run, or ``AdminError/Code/usedElsewhere`` when another database's tenant uses these very roles.
    @discardableResult
    public func adoptTenant(named name: String) async throws -> Tenant {
        let name = try Self.registryName(name)
        try await self.withConnection(tenant: name.rawValue) { connection in
            await self.makeMigrator().sweep(on: connection)
            try await TenantAdoption(name, on: connection, patience: self.patience, connect: self.connector).run()
        }
        return try await self.tenant(named: name.rawValue)
    }
}
