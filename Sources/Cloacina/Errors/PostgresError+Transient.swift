public import CloacinaPostgres
public import CloacinaWorkflow

extension PostgresError: TransientError {
    /// Whether the same statement may succeed later: a connection that was lost or not to be had, a deadline, a deadlock, a
    /// serialisation failure, a lock that was not free, a server that shuts down, is short of something, or is a standby or
    /// otherwise refuses to write for now.
    ///
    /// A login that the server refuses for good, because of the password, the role or the database, is not.
    public var isTransient: Bool {
        let codes: Set<PostgresError.Code> = [
            .connectionFailed, .connectionLost, .connectionClosed, .checkoutTimedOut, .tooManyWaiters,
            .deadlineExceeded,
        ]
        guard let state = self.sqlState else { return codes.contains(self.code) }
        let isStateTransient =
            ["08", "40", "53", "57"].contains(String(state.prefix(2))) || ["25006", "55P03"].contains(state)
        return isStateTransient || codes.contains(self.code) && self.code != .connectionFailed
    }
}
