/// How long a statement may take, and whether it has been asked to stop.
struct StatementWait {
    /// How long the server may take to stop after the first cancel request.
    private static let grace: Duration = .seconds(10)
    /// How long to wait before asking again: a request that comes before the server has begun the statement is lost.
    private static let pause: Duration = .milliseconds(250)

    private(set) var limit: ContinuousClock.Instant?
    private(set) var reason: PostgresError.Code?
    private(set) var request: CancelRequest?
    private var graceEnds: ContinuousClock.Instant?

    init(deadline: ContinuousClock.Instant?) { self.limit = deadline }

    mutating func beginCancelling(_ reason: PostgresError.Code, _ request: CancelRequest?) {
        self.reason = reason
        self.graceEnds = ContinuousClock.now.advanced(by: Self.grace)
        self.cancelAgain { request }
    }

    func mayCancelAgain() -> Bool {
        guard let graceEnds else { return false }
        return ContinuousClock.now < graceEnds
    }

    /// Sends another request unless the last one is still on its way.
    mutating func cancelAgain(_ makeRequest: () -> CancelRequest?) {
        self.limit = ContinuousClock.now.advanced(by: Self.pause)
        guard self.request?.isOnItsWay != true else { return }
        self.request = makeRequest()
        self.request?.send()
    }

    /// The server calls a cancelled statement 57014; we know who cancelled it.
    func translate(_ error: PostgresError) -> PostgresError {
        guard error.sqlState == "57014", let reason else { return error }
        return PostgresError(
            reason, sqlState: error.sqlState, severity: error.severity, advice: "the statement was stopped",
            serverMessage: error.serverMessage, statement: error.statement, statementIndex: error.statementIndex)
    }
}
