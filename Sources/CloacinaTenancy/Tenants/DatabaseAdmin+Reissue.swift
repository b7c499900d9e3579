extension DatabaseAdmin {
    /// Gives a tenant's login a new password; the old one is dead. Puts right what the tenant did to its login's settings.
    ///
    /// A call that was cut off is finished by the same call; until then the login has its old password or the new one.
    ///
    /// - Parameters:
    ///   - name: The tenant's name.
    ///   - options: The new password, and whether sessions end.
    ///   - keep: Where the credentials are kept for good, such as in a file; called before they are in force.
    /// - Throws: ``AdminError`` with ``AdminError/Code/tenantNotFound``, ``AdminError/Code/tenantNotReady``,
    ///   ``AdminError/Code/busy``, ``AdminError/Code/handOverFailed``, or ``AdminError/Code/usedElsewhere`` in a copy of a
    ///   database whose tenant has this very login.
    @discardableResult
    public func reissueCredentials(
        forTenant name: String, options: ReissueOptions = ReissueOptions(),
        handingOver keep: (TenantCredentials) async throws -> Void = { _ in }
    ) async throws -> ReissueReport {
        let name = try Self.registryName(name)
        return try await self.withConnection(tenant: name.rawValue) { connection in
            let reissue = try TenantReissue(
                name, options, on: connection, patience: self.patience, faults: self.faults, connect: self.connector)
            do {
                return try await reissue.run(handingOver: keep)
            } catch {
                let reported = reissue.report(error)
                if await !reissue.stop(after: reported) { await self.close() }
                throw reported
            }
        }
    }

    /// The statements that ``reissueCredentials(forTenant:options:handingOver:)`` would run, with the secret masked.
    /// Nothing is changed.
    ///
    /// - Throws: ``AdminError``, as reissuing would.
    public func plannedSQL(
        reissuing name: String, options: ReissueOptions = ReissueOptions()
    ) async throws -> [String] {
        let name = try Self.registryName(name)
        return try await self.withConnection(tenant: name.rawValue) { connection in
            try await TenantReissue(
                name, options, on: connection, patience: self.patience, faults: .none, connect: self.connector
            ).plannedSQL()
        }
    }
}
