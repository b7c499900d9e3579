import CloacinaPostgres

/// Why an act of administration was refused, or where it stopped.
///
/// `message` says what to do; it and `description` are safe to log: they hold no SQL, no values and no secrets.
public struct AdminError: Error, Sendable {
    /// The kind of refusal or failure. New kinds may be added, so switches need a default.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        enum Base: String {
            case invalidName, invalidConfiguration, passwordNotAcceptable
            case tenantExists, tenantNotFound, tenantNotReady, schemaExists, schemaReplaced, roleExists
            case insufficientPrivilege, notBootstrapped, unsupportedServer, unsupportedEncoding
            case dependentsExist, usedElsewhere
            case migrationFailed, loginRefused, busy, removalIncomplete, handOverFailed, connection, cancelled,
                rejectedByServer
        }
        let base: Base

        /// A tenant or schema name breaks the grammar, is reserved, or is that of a role; nothing was changed.
        public static let invalidName = Self(base: .invalidName)
        /// Options contradict each other or what is recorded; nothing was changed.
        public static let invalidConfiguration = Self(base: .invalidConfiguration)
        /// The password is empty, too long, or outside printable ASCII; nothing was sent.
        public static let passwordNotAcceptable = Self(base: .passwordNotAcceptable)
        /// The registry has a tenant of that name; nothing was changed.
        public static let tenantExists = Self(base: .tenantExists)
        /// The registry has no tenant of that name.
        public static let tenantNotFound = Self(base: .tenantNotFound)
        /// The tenant is half created or half removed, and this cannot be done to it.
        public static let tenantNotReady = Self(base: .tenantNotReady)
        /// A schema of that name exists already; it is never adopted.
        public static let schemaExists = Self(base: .schemaExists)
        /// The tenant's schema or one of its roles is not the one that was registered; it is left alone.
        public static let schemaReplaced = Self(base: .schemaReplaced)
        /// A role that would have to be created exists already; it is never adopted.
        public static let roleExists = Self(base: .roleExists)
        /// The administrator lacks a privilege; the message names the statement that grants it.
        public static let insufficientPrivilege = Self(base: .insufficientPrivilege)
        /// The database has no control schema, or an older one than this program needs.
        public static let notBootstrapped = Self(base: .notBootstrapped)
        /// The server is older than PostgreSQL 14, or in recovery.
        public static let unsupportedServer = Self(base: .unsupportedServer)
        /// The database's encoding is not UTF-8; nothing was changed. The message names the statement that makes one that is.
        public static let unsupportedEncoding = Self(base: .unsupportedEncoding)
        /// Others' objects depend on the tenant's and would be dropped with them; nothing was changed.
        public static let dependentsExist = Self(base: .dependentsExist)
        /// Another database of the server uses the tenant's roles, or can't be cleaned of what they hold there; the
        /// message names it.
        public static let usedElsewhere = Self(base: .usedElsewhere)
        /// A migration was refused or failed; see ``AdminError/underlying``.
        public static let migrationFailed = Self(base: .migrationFailed)
        /// The server doesn't let in the login over which the files of tenants run; no file was run over it. The message says how
        /// to let it in, or to do without; see ``MigrationLogin``.
        public static let loginRefused = Self(base: .loginRefused)
        /// Another process works on the same tenant, or sessions hold locks; try again later.
        public static let busy = Self(base: .busy)
        /// Something of the tenant is left; call again to go on.
        public static let removalIncomplete = Self(base: .removalIncomplete)
        /// New credentials could not be kept; see ``AdminError/underlying``. Call again to go on.
        public static let handOverFailed = Self(base: .handOverFailed)
        /// The connection could not be made, or broke; the ledger tells how far the work got.
        public static let connection = Self(base: .connection)
        /// The task was cancelled.
        public static let cancelled = Self(base: .cancelled)
        /// The server refused a statement for a reason of its own; see ``AdminError/sqlState``.
        public static let rejectedByServer = Self(base: .rejectedByServer)

        /// The code's name.
        public var description: String { self.base.rawValue }
    }

    /// The kind of refusal or failure.
    public let code: Code
    /// What happened and what to do, in a sentence or two.
    public let message: String
    /// The tenant it was about.
    public let tenant: String?
    /// The step at which it stopped, as the ledger calls it.
    public let step: String?
    /// The server's SQLSTATE, if the server refused.
    public let sqlState: String?
    /// The error beneath this one.
    public let underlying: (any Error)?

    package init(
        _ code: Code, _ message: String, tenant: String? = nil, step: String? = nil, sqlState: String? = nil,
        underlying: (any Error)? = nil
    ) {
        self.code = code
        self.message = message
        self.tenant = tenant
        self.step = step
        self.sqlState = sqlState ?? (underlying as? PostgresError)?.sqlState
        self.underlying = underlying
    }
}

extension AdminError: CustomStringConvertible, CustomDebugStringConvertible {
    /// Code, step, SQLSTATE and message.
    public var description: String {
        var text = self.code.description
        if let step { text += " at step \(step)" }
        if let sqlState { text += " (SQLSTATE \(sqlState))" }
        return text + ": \(self.message)"
    }

    /// The description with what lies beneath, statements and the server's words included.
    public var debugDescription: String {
        var text = self.description
        if let underlying { text += "\n  underlying: \(SecretMask.mask(String(reflecting: underlying)))" }
        return text
    }
}
