/// What went wrong between this process and a PostgreSQL server.
///
/// Decide on ``code`` and ``sqlState``, never on text. `description` is safe to log: it holds no SQL, no values and no
/// secrets. The server's own message and the statement, which may quote data, appear only in `debugDescription`.
public struct PostgresError: Error, Sendable {
    /// The kind of failure. New kinds may be added, so switches need a default.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        enum Base: String {
            case invalidConnectionString, connectionFailed, connectionLost, connectionClosed
            case rejectedByServer, transactionAborted, cancelled, deadlineExceeded
            case missingSchema, labelRefused, invalidValue, decodingFailed, unexpectedResult
            case poolShutDown, checkoutTimedOut, tooManyWaiters, unsupported, poolerUnsupported
        }
        let base: Base

        /// The connection string, or libpq's environment, holds what libpq can't take, such as a parameter that it doesn't know;
        /// nothing was sent. The advice names the parameter, and never its value.
        public static let invalidConnectionString = Self(base: .invalidConnectionString)
        /// No connection could be made: host, port, TLS, credentials or the server's limits.
        public static let connectionFailed = Self(base: .connectionFailed)
        /// The connection broke while in use; whether the last statement took effect is unknown.
        public static let connectionLost = Self(base: .connectionLost)
        /// The connection had been closed before the call.
        public static let connectionClosed = Self(base: .connectionClosed)
        /// The server reported an error; see ``PostgresError/sqlState``.
        public static let rejectedByServer = Self(base: .rejectedByServer)
        /// A transaction whose statement had failed was ended with a commit: the server rolled it back.
        public static let transactionAborted = Self(base: .transactionAborted)
        /// The task was cancelled; the statement was stopped on the server.
        public static let cancelled = Self(base: .cancelled)
        /// The deadline passed; the statement was stopped on the server.
        public static let deadlineExceeded = Self(base: .deadlineExceeded)
        /// The schema that the label names does not exist, so nothing of the caller's ran.
        public static let missingSchema = Self(base: .missingSchema)
        /// The server refused to take on the label (role missing or not granted), so nothing of the caller's ran.
        public static let labelRefused = Self(base: .labelRefused)
        /// A bind or the SQL text holds what PostgreSQL cannot store, such as a NUL character; nothing was sent.
        public static let invalidValue = Self(base: .invalidValue)
        /// A result's value does not have the type that was asked for.
        public static let decodingFailed = Self(base: .decodingFailed)
        /// A result has another shape than was asked for: a missing column, no row, too many rows.
        public static let unexpectedResult = Self(base: .unexpectedResult)
        /// The pool is shutting down and lends no more connections.
        public static let poolShutDown = Self(base: .poolShutDown)
        /// No connection became free before the deadline.
        public static let checkoutTimedOut = Self(base: .checkoutTimedOut)
        /// The pool has as many waiting callers as its configuration allows.
        public static let tooManyWaiters = Self(base: .tooManyWaiters)
        /// This libpq or server cannot do what was asked.
        public static let unsupported = Self(base: .unsupported)
        /// A pooler in between hands sessions from one client to another, which what was asked does not bear; nothing
        /// was run.
        public static let poolerUnsupported = Self(base: .poolerUnsupported)

        /// The code's name.
        public var description: String { self.base.rawValue }
    }

    /// The kind of failure.
    public let code: Code
    /// The server's five-character SQLSTATE, if the server answered.
    public let sqlState: String?
    /// The server's severity, such as `ERROR` or `FATAL`.
    public let severity: String?
    /// The name of the violated constraint.
    public let constraint: String?
    /// What to do about it, in our words.
    public let advice: String?
    /// The server's or libpq's own words; they may quote data, so don't log them.
    public let serverMessage: String?
    /// The first of the server's own words: what happened, without detail and hint. They may quote data.
    public internal(set) var primaryMessage: String?
    /// The server's addition to its message; it often quotes data.
    public internal(set) var detail: String?
    /// The server's advice.
    public internal(set) var hint: String?
    /// The place of the fault in the statement: a character of its text, counted from 1.
    public internal(set) var position: Int?
    /// The SQL text that failed; it may quote data, so don't log it.
    public let statement: String?
    /// Which statement of a pipeline failed, from 0.
    public internal(set) var statementIndex: Int?
    /// The error beneath this one.
    public let underlying: (any Error)?
    /// Whether another attempt is known to fail as well, until the configuration or the server's set-up is changed, as with a
    /// server that speaks no TLS; false where nothing is known.
    public let isPermanent: Bool
    /// The file of the call that failed.
    public internal(set) var fileID: String
    /// The line of the call that failed.
    public internal(set) var line: Int

    package init(
        _ code: Code, sqlState: String? = nil, severity: String? = nil, constraint: String? = nil,
        advice: String? = nil, serverMessage: String? = nil, statement: String? = nil, statementIndex: Int? = nil,
        underlying: (any Error)? = nil, isPermanent: Bool = false, fileID: String = "", line: Int = 0
    ) {
        self.code = code
        self.sqlState = sqlState
        self.severity = severity
        self.constraint = constraint
        self.advice = advice
        self.serverMessage = serverMessage
        self.statement = statement
        self.statementIndex = statementIndex
        self.underlying = underlying
        self.isPermanent = isPermanent
        self.fileID = fileID
        self.line = line
    }

    /// The same failure with another advice.
    func advising(_ advice: String) -> PostgresError {
        var copy = PostgresError(
            self.code, sqlState: self.sqlState, severity: self.severity, constraint: self.constraint, advice: advice,
            serverMessage: self.serverMessage, statement: self.statement, statementIndex: self.statementIndex,
            underlying: self.underlying, isPermanent: self.isPermanent, fileID: self.fileID, line: self.line)
        copy.primaryMessage = self.primaryMessage
        copy.detail = self.detail
        copy.hint = self.hint
        copy.position = self.position
        return copy
    }

    func at(_ fileID: String, _ line: Int) -> PostgresError {
        var copy = self
        copy.fileID = fileID
        copy.line = line
        return copy
    }
}

extension PostgresError: CustomStringConvertible, CustomDebugStringConvertible {
    /// The failure without SQL, values or secrets.
    public var description: String {
        var text = "PostgreSQL: \(self.code)"
        if let sqlState { text += " (SQLSTATE \(sqlState)\(self.severity.map { ", \($0)" } ?? ""))" }
        if let constraint { text += ", constraint \(constraint)" }
        if let advice { text += ": \(advice)" }
        return text
    }

    /// Everything known, the statement and the server's words included.
    public var debugDescription: String {
        var text = self.description
        if let serverMessage { text += "\n  server: \(serverMessage)" }
        if let statement { text += "\n  statement: \(statement)" }
        if let statementIndex { text += "\n  statement index: \(statementIndex)" }
        if let underlying { text += "\n  underlying: \(underlying)" }
        if !self.fileID.isEmpty { text += "\n  at \(self.fileID):\(self.line)" }
        return text
    }
}
