import Cloacina
import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy

/// What the operator hears of an error. The one place where errors become exit statuses.
struct Failure: Equatable {
    let status: CommandStatus
    let message: String
    /// What the server said, in its words: its message alone, without detail (which quotes rows) and statement.
    var detail: String?
    var hint: String?
    var isInterruption = false

    private init(_ status: CommandStatus, _ message: String, hint: String? = nil) {
        self.status = status
        self.message = message
        self.hint = hint
    }

    /// Any error.
    init(_ error: any Error) {
        switch error {
        case let error as CommandError: self.init(error.status, error.message, hint: error.hint)
        case let error as AdminError: self.init(administration: error)
        case let error as MigrationError: self.init(migration: error)
        case let error as PostgresError: self.init(driver: error)
        case let error as PipelineError: self.init(pipeline: error)
        case is CancellationError: self.init(.failed, "interrupted")
        default: self.init(.failed, String(describing: error))
        }
        self.isInterruption = error is CancellationError || Self.isCancellation(error)
        self.detail = Self.serverWords(error)
    }

    /// The words of the server, or of libpq, that lie deepest.
    private static func serverWords(_ error: any Error) -> String? {
        switch error {
        case let error as AdminError: error.underlying.flatMap(self.serverWords)
        case let error as MigrationError: error.underlying.flatMap(self.serverWords)
        case let error as PipelineError: error.underlying.flatMap(self.serverWords)
        case let error as PostgresError:
            // Where there is neither, what could not be decoded is worth knowing.
            (error.serverMessage ?? (error.code == .rejectedByServer ? nil : error.description)).map { words in
                let end = words.firstRange(of: " | ")?.lowerBound ?? words.endIndex
                return SecretMask.mask(String(words[..<end])).split(whereSeparator: \.isWhitespace).joined(
                    separator: " ")
            }
        default: nil
        }
    }

    private static func isCancellation(_ error: any Error) -> Bool {
        switch error {
        case let error as AdminError: error.code == .cancelled
        case let error as MigrationError: error.code == .cancelled
        case let error as PostgresError: error.code == .cancelled
        case let error as PipelineError: error.code == .cancelled || error.underlying.map(self.isCancellation) ?? false
        default: false
        }
    }

    private init(administration error: AdminError) {
        let underlying = error.underlying.map(Failure.init)
        switch error.code {
        case .invalidName, .invalidConfiguration, .passwordNotAcceptable:
            self.init(.usage, error.description)
        case .insufficientPrivilege:
            self.init(.privileges, error.description)
        case .busy:
            self.init(.lockBusy, error.description)
        case .notBootstrapped:
            self.init(.failed, error.description, hint: "cloacina-admin bootstrap")
        case .handOverFailed:
            let cause = underlying.map { ": \($0.message)" } ?? ""
            self.init(
                underlying?.status ?? .failed, error.description + cause,
                hint: underlying?.hint ?? "the same command again goes on where this one stopped")
        case .removalIncomplete, .cancelled:
            self.init(.failed, error.description, hint: "the same command again goes on where this one stopped")
        case .connection:
            self.init(underlying?.status ?? .tryAgainLater, error.description, hint: underlying?.hint)
        case .migrationFailed, .rejectedByServer:
            self.init(underlying?.status ?? .failed, error.description, hint: underlying?.hint)
        default:
            self.init(.failed, error.description)
        }
    }

    private init(migration error: MigrationError) {
        let status: CommandStatus =
            switch error.code {
            case .lockBusy, .lockTimeout: .lockBusy
            case .unreadableDirectory: .usage
            case .connectionFailed: error.underlying.map { Failure($0).status } ?? .tryAgainLater
            case .serverRefused: error.underlying.map { Failure($0).status } ?? .failed
            default: .failed
            }
        self.init(status, error.description)
    }

    private init(pipeline error: PipelineError) {
        let cause = error.underlying as? PostgresError
        let hint: String? =
            switch cause?.sqlState {
            case "42501": "reading takes on the tenant's owner role, which `tenant show` names: GRANT it to this login"
            case "3F000", "42P01", "42703": "the tenant's schema is missing or behind: `migrate status` tells"
            default: nil
            }
        let status = error.underlying.map { Failure($0).status } ?? .failed
        self.init(status, error.description, hint: hint)
    }

    private init(driver error: PostgresError) {
        self.init(Self.status(of: error.code, sqlState: error.sqlState), error.description)
    }

    private static func status(of code: PostgresError.Code, sqlState: String?) -> CommandStatus {
        switch (code, sqlState?.prefix(2)) {
        case (_, "28"?),
            (_, "42"?) where sqlState == "42501" || sqlState?.hasPrefix("28") == true:
            .privileges
        case (.invalidConnectionString, _): .usage
        // No such database: waiting does not help.
        case (_, "3D"?): .failed
        case (_, "53"?), (_, "57"?), (_, "40"?), (_, "08"?): .tryAgainLater
        case (_, "55"?) where sqlState == "55P03": .lockBusy
        case (.connectionFailed, _), (.connectionLost, _), (.checkoutTimedOut, _), (.deadlineExceeded, _):
            .tryAgainLater
        default: .failed
        }
    }
}
