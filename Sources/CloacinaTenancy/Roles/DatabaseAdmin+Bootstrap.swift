import CloacinaPostgres
import CloacinaSchema

extension DatabaseAdmin {
    /// Prepares the database for tenants: control schema, the group of tenants' logins, the service login, and what
    /// `PUBLIC` may no longer do. Running it again changes only what is missing.
    ///
    /// - Throws: ``AdminError`` with ``AdminError/Code/insufficientPrivilege``, whose message holds the statements that a
    ///   more privileged role must run; ``AdminError/Code/schemaExists`` or ``AdminError/Code/roleExists`` when a name is
    ///   somebody else's; ``AdminError/Code/unsupportedEncoding`` when the database is not UTF-8.
    @discardableResult
    public func bootstrap(_ options: BootstrapOptions = BootstrapOptions()) async throws -> BootstrapReport {
        try await self.withConnection { connection in
            let bootstrap = try Bootstrap(options, on: connection, logger: self.logger)
            return try await bootstrap.run(patience: self.patience)
        }
    }
}
