public import CloacinaWorkflow
import GRDB

/// Why SQLite refused, or why a file isn't used.
///
/// It is the ``PipelineError/underlying`` error of what a runner over a file throws. `description` is safe to log: code and
/// number only. What SQLite said stands in ``message`` and in `debugDescription`; it may name tables and columns.
public struct SQLiteError: Error, Sendable {
    /// What went wrong.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        enum Base: String {
            case busy, full, inputOutput, outOfMemory, cannotOpen, readOnly, notADatabase, corrupt, moved, constraint
            case invalidPath, rejected
        }
        let base: Base

        /// Others wrote to the file for longer than ``SQLiteConfiguration/busyTimeout``.
        public static let busy = Self(base: .busy)
        /// The disk, or the file's largest size, is used up.
        public static let full = Self(base: .full)
        /// The operating system could not read or write.
        public static let inputOutput = Self(base: .inputOutput)
        /// There was no memory left.
        public static let outOfMemory = Self(base: .outOfMemory)
        /// The file can't be opened or made: its directory is missing, it is a directory, permissions, too many open files.
        public static let cannotOpen = Self(base: .cannotOpen)
        /// The file or its directory may not be written.
        public static let readOnly = Self(base: .readOnly)
        /// The file is something else than a database.
        public static let notADatabase = Self(base: .notADatabase)
        /// The file is damaged, or somebody stored what this library doesn't.
        public static let corrupt = Self(base: .corrupt)
        /// The file was deleted, renamed or replaced after it was opened; what is written now would be lost.
        public static let moved = Self(base: .moved)
        /// A row breaks a rule of its table.
        public static let constraint = Self(base: .constraint)
        /// The URL names no local file.
        public static let invalidPath = Self(base: .invalidPath)
        /// SQLite refused for another reason; see ``SQLiteError/resultCode``.
        public static let rejected = Self(base: .rejected)

        /// The code's name.
        public var description: String { self.base.rawValue }
    }

    /// What went wrong.
    public let code: Code
    /// SQLite's extended result code; nil when the library itself refused.
    public let resultCode: Int32?
    /// What SQLite said, or what this library has to say.
    public let message: String

    init(_ code: Code, _ message: String, resultCode: Int32? = nil) {
        self.code = code
        self.message = message
        self.resultCode = resultCode
    }
}

extension SQLiteError: TransientError {
    /// Whether the same call may succeed later: others wrote, or the machine is short of something.
    public var isTransient: Bool { [.busy, .full, .inputOutput, .outOfMemory, .cannotOpen].contains(self.code) }
}

extension SQLiteError: CustomStringConvertible, CustomDebugStringConvertible {
    /// The code, and SQLite's number.
    public var description: String {
        "SQLite: \(self.code)" + (self.resultCode.map { " (\($0))" } ?? "")
    }

    /// The description and the message.
    public var debugDescription: String { "\(self.description): \(self.message)" }
}

extension SQLiteError {
    /// Translates whatever the library below throws.
    init(_ error: any Error) {
        switch error {
        case let error as SQLiteError: self = error
        case let error as DatabaseError:
            self.init(
                Self.code(of: error.resultCode), error.message ?? "", resultCode: error.extendedResultCode.rawValue)
        default: self.init(.corrupt, "\(error)")
        }
    }

    private static func code(of result: ResultCode) -> Code {
        switch result {
        case .SQLITE_BUSY, .SQLITE_LOCKED, .SQLITE_PROTOCOL: .busy
        case .SQLITE_FULL: .full
        case .SQLITE_IOERR: .inputOutput
        case .SQLITE_NOMEM: .outOfMemory
        case .SQLITE_CANTOPEN: .cannotOpen
        case .SQLITE_READONLY, .SQLITE_PERM: .readOnly
        case .SQLITE_NOTADB: .notADatabase
        case .SQLITE_CORRUPT: .corrupt
        case .SQLITE_CONSTRAINT, .SQLITE_MISMATCH, .SQLITE_TOOBIG: .constraint
        default: .rejected
        }
    }
}
