import Cloacina
import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy

/// What the operator hears of an error. The one place where errors become exit statuses.
struct Failure: Equatable {
    let status: CommandStatus
    /// The kind of failure: the library's name for it, or that of the exit status.
    private(set) var code: String
    let message: String
    /// What the server said, in its words: its message alone, without detail (which quotes rows) and statement.
    var detail: String?
    var hint: String?
    private(set) var tenant: String?
    /// Where it stopped, as the ledger calls it.
    private(set) var step: String?
    private(set) var sqlState: String?
    /// Everything that is wrong with migration files, in their order.
    private(set) var complaints: [MigrationComplaint] = []
    var isInterruption = false

    private init(_ status: CommandStatus, _ message: String, hint: String? = nil) {
        self.status = status
        self.code = String(describing: status)
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
        self.identify(error)
    }

    /// Notes what a program decides on.
    private mutating func identify(_ error: any Error) {
        switch error {
        case let error as AdminError:
            self.code = error.code.description
            self.tenant = error.tenant
            self.step = error.step
            self.sqlState = error.sqlState ?? error.underlying.flatMap { Failure($0).sqlState }
        case let error as CommandError: self.complaints = error.complaints
        case let error as MigrationError:
            self.complaints = error.complaints
            self.code = error.code.description
            self.sqlState = error.sqlState ?? error.underlying.flatMap { Failure($0).sqlState }
        case let error as PostgresError:
            self.code = error.code.description
            self.sqlState = error.sqlState
        case let error as PipelineError:
            self.code = error.code.description
            self.sqlState = error.underlying.flatMap { Failure($0).sqlState }
        case is CancellationError: self.code = "cancelled"
        default: break
        }
    }

    /// The words of the server, or of libpq, that lie deepest.
    private static func serverWords(_ error: any Error) -> String? {
        switch error {
        case let error as AdminError: error.underlying.flatMap(self.serverWords)
        case let error as MigrationError:
            // Whoever mends a file needs all that the server said of it.
            error.serverWords.map { words in
                SecretMask.mask(
                    [words.message, words.detail, words.hint.map { "hint: \($0)" }].compactMap { $0 }
                        .joined(separator: "; "))
            } ?? error.underlying.flatMap(self.serverWords)
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
        case .tenantExists:
            self.init(
                .failed, error.description,
                hint: "`tenant show` shows it; `tenant reissue` gives it another secret; --if-not-exists takes it so")
        case .handOverFailed:
            let cause = underlying.map { ": \($0.message)" } ?? ""
            self.init(
                underlying?.status ?? .failed, error.description + cause,
                hint: underlying?.hint ?? "the same command again goes on where this one stopped")
        case .dependentsExist:
            self.init(.failed, error.description, hint: "--dry-run shows the plan; --cascade drops them as well")
        case .removalIncomplete, .cancelled:
            self.init(.failed, error.description, hint: "the same command again goes on where this one stopped")
        case .connection:
            self.init(underlying?.status ?? .tryAgainLater, error.description, hint: underlying?.hint)
        case .loginRefused:
            self.init(underlying?.status == .tryAgainLater ? .tryAgainLater : .privileges, error.description)
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
        let hint: String? =
            switch error.code {
            case .unreadableDirectory: "name a directory that exists and can be read: --migrations DIRECTORY=SOURCE"
            case .serverRefused where status == .privileges:
                "connect as the administrator who ran bootstrap, by --database-url or CLOACINA_DATABASE_URL; where "
                    + "this is that login, bootstrap run once more names what it lacks"
            case .serverRefused: error.underlying.flatMap { Failure($0).hint }
            default: nil
            }
        self.init(status, error.description, hint: hint)
    }

    private init(pipeline error: PipelineError) {
        let cause = error.underlying as? PostgresError
        let hint: String? =
            switch cause?.sqlState {
            case "42501": "reading takes on the tenant's engine role, which `tenant show` names: GRANT it to this login"
            case "3F000", "42P01", "42703": "the tenant's schema is missing or behind: `migrate status` tells"
            default: nil
            }
        let status = error.underlying.map { Failure($0).status } ?? .failed
        self.init(status, error.description, hint: hint)
    }

    private init(driver error: PostgresError) {
        self.init(Self.status(of: error), error.description, hint: Self.hint(for: error.sqlState))
    }

    /// What the administrator can do about a refusal that stays the same however often it is asked for.
    private static func hint(for sqlState: String?) -> String? {
        switch sqlState {
        case "25006":
            "the server, the database or the login is read-only: connect to the primary "
                + "(target_session_attrs=read-write), or turn default_transaction_read_only off"
        case "57014":
            "a statement_timeout ended it: raise that of the role or the database, or SET it to 0 for this login"
        case "53200": "the server is out of memory or locks: raise max_locks_per_transaction, or do less at a time"
        case "53400": "a limit of the server's configuration was reached, such as temp_file_limit"
        default: nil
        }
    }

    /// Nothing but what may work later, with nothing changed, is to be tried again.
    private static func status(of error: PostgresError) -> CommandStatus {
        if error.code == .invalidConnectionString { return .usage }
        if let sqlState = error.sqlState,
            let status = self.status(ofState: sqlState, isLogin: error.code == .connectionFailed)
        {
            return status
        }
        switch error.code {
        case .connectionFailed: return error.isPermanent ? .failed : .tryAgainLater
        case .connectionLost, .connectionClosed, .checkoutTimedOut, .tooManyWaiters, .deadlineExceeded:
            return .tryAgainLater
        default: return .failed
        }
    }

    /// What a SQLSTATE decides on its own.
    private static func status(ofState sqlState: String, isLogin: Bool) -> CommandStatus? {
        switch sqlState {
        case "42501": .privileges
        case "55P03": .lockBusy
        // A login refused for want of memory finds some later; a statement that takes too many locks always will.
        case "53200": isLogin ? .tryAgainLater : .failed
        // Disk full, too many connections, shutting down, starting up, deadlock, serialization.
        case "53000", "53100", "53300", "57P01", "57P02", "57P03", "57P05", "40001", "40P01", "40003": .tryAgainLater
        // The connection broke, or could not be made: all of the class but a violated protocol and a refusal for good.
        case "08000", "08001", "08003", "08006", "08007": .tryAgainLater
        case _ where sqlState.hasPrefix("28"): .privileges
        // Every other answer of the server's stays the same.
        case _ where isLogin || ["53", "57", "40", "08"].contains(sqlState.prefix(2)): .failed
        default: nil
        }
    }
}
