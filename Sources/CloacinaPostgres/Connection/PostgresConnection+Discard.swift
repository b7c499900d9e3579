extension PostgresConnection {
    /// Runs `DISCARD ALL` and forgets what the connection knew of its session: settings, roles taken on, prepared statements,
    /// temporary tables, session locks and `LISTEN` are as after connecting.
    package func discardAll(fileID: String = #fileID, line: Int = #line) async throws(PostgresError) {
        try await self.interruptible(fileID, line) { connection throws(PostgresError) in
            // By itself: the server refuses it in a transaction.
            let discard = PostgresStatement(trusted: "DISCARD ALL", prepared: false)
            _ = try connection.run([discard], scope: nil, deadline: nil)
            _ = connection.cache.removeAll()
            connection.retired.removeAll()
            connection.binding = LabelBinding()
            connection.lockTimeout = SessionSetting(LockTimeout.standard)
        }
    }
}
