import CloacinaPostgres
import CloacinaSchema

extension DatabaseAdmin {
    /// Prepares the database for tenants: control schema, the group of tenants' logins, the service login, and what
    /// `PUBLIC` may no longer do. Running it again changes only what is missing.
    ///
    /// - Parameter keep: Where a new password of the service login is kept for good; called once everything else is done and
    ///   before the password is in force. Not called without ``BootstrapOptions/servicePassword``.
    /// - Throws: ``AdminError`` with ``AdminError/Code/insufficientPrivilege``, whose message holds the statements that a
    ///   more privileged role must run; ``AdminError/Code/schemaExists`` or ``AdminError/Code/roleExists`` when a name is
    ///   somebody else's; ``AdminError/Code/unsupportedEncoding`` when the database is not UTF-8.
    @discardableResult
    public func bootstrap(
        _ options: BootstrapOptions = BootstrapOptions(),
        handingOver keep: (BootstrapReport) async throws -> Void = { _ in }
    ) async throws -> BootstrapReport {
        try await self.withConnection { connection in
            let bootstrap = try Bootstrap(
                options, on: connection, sweepingWith: self.makeMigrator(), logger: self.logger)
            return try await bootstrap.run(patience: self.patience, handingOver: keep)
        }
    }

    /// The service login that this database was prepared with; nil when it wasn't.
    package func recordedServiceRole() async throws -> String? {
        try await self.ifBootstrapped { connection in
            try await connection.query(BootstrapQueries.serviceRole).first?.value(at: 0)
        }
    }

    /// What broke off the last time that the service login was given a password; nil when nothing did.
    package func unfinishedBootstrap() async throws -> UnfinishedHandOver? {
        try await self.unfinished(.bootstrap, tenant: "")
    }

    /// What broke off the last time that a tenant was given new credentials; nil when nothing did.
    package func unfinishedReissue(ofTenant name: String) async throws -> UnfinishedHandOver? {
        try await self.unfinished(.reissue, tenant: name)
    }

    /// What broke off the last time that a tenant was created; nil when nothing did.
    package func unfinishedCreation(ofTenant name: String) async throws -> UnfinishedHandOver? {
        try await self.unfinished(.create, tenant: name)
    }

    private func unfinished(_ kind: OperationLedger.Kind, tenant: String) async throws -> UnfinishedHandOver? {
        try await self.ifBootstrapped { connection in
            guard let row = try await connection.query(OperationLedger.newest(kind, tenant: tenant)).first,
                try row.value("is_unfinished")
            else { return nil }
            return UnfinishedHandOver(secretDigest: try row.value("secret_digest"))
        }
    }

    private func ifBootstrapped<R>(_ body: (PostgresConnection) async throws -> R?) async throws -> R? {
        do {
            return try await self.withConnection { try await body($0) }
        } catch let error as AdminError where error.code == .notBootstrapped {
            return nil
        }
    }
}
