import CloacinaPostgres
import CloacinaSchema

extension AdminError {
    /// Whether the connection that this error came over is of no more use.
    static func isConnectionLoss(_ error: any Error) -> Bool {
        switch error {
        case let error as PostgresError:
            [.connectionLost, .connectionClosed, .connectionFailed].contains(error.code)
        case let error as AdminError:
            // Of a refused login the administrator's own connection knows nothing.
            error.code != .loginRefused
                && (error.code == .connection || error.underlying.map(self.isConnectionLoss) ?? false)
        case let error as MigrationError:
            error.code == .connectionFailed || error.underlying.map(self.isConnectionLoss) ?? false
        default: false
        }
    }

    /// Puts an error from below into the administrator's terms.
    init(_ error: any Error, tenant: String? = nil, step: String? = nil) {
        switch error {
        case let error as AdminError:
            self.init(
                error.code, error.message, tenant: error.tenant ?? tenant, step: error.step ?? step,
                sqlState: error.sqlState, underlying: error.underlying)
        case let error as PostgresError:
            self.init(driver: error, tenant: tenant, step: step)
        case let error as MigrationError:
            self.init(migration: error, tenant: tenant, step: step)
        case let error as SCRAM.PasswordRejection:
            self.init(.passwordNotAcceptable, error.advice, tenant: tenant)
        case is CancellationError:
            self.init(
                .cancelled, "the task was cancelled; see the ledger for how far it got", tenant: tenant, step: step)
        default:
            self.init(
                .rejectedByServer, "an unexpected error stopped it", tenant: tenant, step: step, underlying: error)
        }
    }

    private init(driver error: PostgresError, tenant: String?, step: String?) {
        let (code, message): (Code, String) =
            switch (error.code, error.sqlState) {
            case (.cancelled, _): (.cancelled, "the task was cancelled; see the ledger for how far it got")
            case (.invalidConnectionString, _):
                (
                    .connection,
                    "the connection string cannot be used: "
                        + (error.advice ?? "give a URL or a keyword string as libpq knows them")
                )
            case (.connectionFailed, _):
                (.connection, "no connection to the server; check host, port, database, login and TLS")
            case (.poolerUnsupported, _):
                (
                    .invalidConfiguration,
                    "a pooler sits between; administration and migrations need a direct connection to the server"
                )
            case (.connectionLost, _), (.connectionClosed, _):
                (.connection, "the connection broke; call again, the ledger tells where to go on")
            case (.deadlineExceeded, _):
                (
                    .busy,
                    "a new session found no way in within the time to connect: another session locks a catalog of the server, "
                        + "or waits to; as a superuser look at pg_locks and end who has held its locks longest, then call again"
                )
            case (_, "42501"?):
                (
                    .insufficientPrivilege,
                    "the server refused the administrator; it needs CREATEROLE, CREATE on the database, and ADMIN "
                        + "on the roles that bootstrap made"
                )
            case (_, "3F000"?), (_, "42P01"?), (_, "42703"?):
                (.notBootstrapped, "the control schema is missing or older than this program; run bootstrap")
            case (_, "42P06"?): (.schemaExists, "the schema exists already; choose another name, nothing was changed")
            case (_, "42710"?):
                (.roleExists, "a role of the tenant exists already; choose another name, nothing was changed")
            case (_, "55P03"?), (_, "40P01"?), (_, "40001"?):
                (.busy, "other sessions hold locks that this needs; try again")
            case (.rejectedByServer, _): (.rejectedByServer, "the server refused a statement")
            default: (.rejectedByServer, "the driver stopped: \(error.code)")
            }
        self.init(code, message, tenant: tenant, step: step, underlying: error)
    }

    private init(migration error: MigrationError, tenant: String?, step: String?) {
        let code: Code =
            switch error.code {
            case .lockBusy, .lockTimeout: .busy
            case .connectionFailed: .connection
            case .cancelled: .cancelled
            default: .migrationFailed
            }
        self.init(
            code, error.description, tenant: tenant, step: step, sqlState: error.sqlState, underlying: error)
    }
}

extension SCRAM.PasswordRejection {
    /// Why the password was refused and what to do, without the password.
    var advice: String {
        switch self {
        case .empty: "the password is empty; leave it out to have one of 256 bits made"
        case .tooLong(let limit): "the password is longer than \(limit) bytes"
        case .notPrintableASCII(let position):
            "the password's character \(position) is not printable ASCII; PostgreSQL would normalise it (SASLprep) in "
                + "ways that clients disagree on, so it is refused: use ASCII, or leave it out to have one made"
        }
    }
}
