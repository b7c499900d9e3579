import CloacinaPostgres

extension PipelineError {
    /// The error of a store's call that failed, in the engine's terms.
    init(storing label: PostgresLabel, _ error: any Error) {
        guard (error as? PostgresError)?.sqlState == "42501" else {
            self.init(.storageFailed, "the pipeline can't be read or written", underlying: error)
            return
        }
        let advice =
            if let login = label.login {
                "the login \(login) may not use the engine's tables; `cloacina-admin tenant access NAME --engine`, with the name of "
                    + "the tenant of the schema \(label.schema), lets its logins run its runners"
            } else if let role = label.role {
                "the role \(role) may not use the engine's tables, or not be taken on; give the runner the tenant's "
                    + "`label(.role)`, whose role is the engine's"
            } else {
                "the pool's login may not use the engine's tables; give the runner a tenant's label, such as `label(.role)`"
            }
        self.init(.noEngineAccess, advice, underlying: error)
    }
}
