import CloacinaPostgres
import CloacinaWorkflow

/// Why a pipeline could not be run to an end, or a task not be given what it asked for.
///
/// A task that fails is no error of this kind: the pipeline ends as ``PipelineStatus/failed`` and its result says why.
/// `description` is safe to log, except that of ``Code/notCompleted``, which repeats what a task's error says.
public struct PipelineError: Error, Sendable {
    /// What went wrong.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        enum Base: String {
            case workflowNotFound, duplicateWorkflow, cancelled, storageFailed, pipelineVanished, takenOver
            case noDatabase, pipelineNotFound, released, notPossible, versionMismatch, duplicateItem, notCompleted
            case invalidOptions, tooDeep, stranded, nestedConnection, deadlineExceeded, keyConflict, noEngineAccess
        }
        let base: Base

        /// The runner has no workflow of that name.
        public static let workflowNotFound = Self(base: .workflowNotFound)
        /// The runner has a workflow of that name already.
        public static let duplicateWorkflow = Self(base: .duplicateWorkflow)
        /// The caller was cancelled: before anything was recorded, or while it waited for a pipeline that goes on.
        public static let cancelled = Self(base: .cancelled)
        /// The database could not be read or written: it refused for good, or a call waited for longer than
        /// ``RunnerConfiguration/databasePatience``, or the pipeline was stopped meanwhile; see ``PipelineError/underlying``. The
        /// rows say how far the pipeline got. What was refused for good is paused, with the reason in its history; anything else
        /// goes back into the queue when the database answers again, and may complete later.
        public static let storageFailed = Self(base: .storageFailed)
        /// The login or role of the runner's label may not use the engine's tables: a tenant's own login without engine access,
        /// or the tenant's runtime role. The message names the command that gives access.
        public static let noEngineAccess = Self(base: .noEngineAccess)
        /// Somebody deleted the pipeline's rows while it ran.
        public static let pipelineVanished = Self(base: .pipelineVanished)
        /// Somebody else has claimed what remains of the pipeline and will end it.
        public static let takenOver = Self(base: .takenOver)
        /// The task runs without a tenant's database.
        public static let noDatabase = Self(base: .noDatabase)

        /// There is no pipeline of that id.
        public static let pipelineNotFound = Self(base: .pipelineNotFound)
        /// The runner was shut down; another one goes on with the pipeline.
        public static let released = Self(base: .released)
        /// The pipeline is in a state in which this can't be done, such as resuming one that has ended.
        public static let notPossible = Self(base: .notPossible)
        /// The runner has the workflow in another version than the pipeline began with, and so can't say what came of its tasks.
        public static let versionMismatch = Self(base: .versionMismatch)
        /// Two items of a list have one id; see ``TaskScope/executeEach(_:over:id:limit:timeout:context:)``.
        public static let duplicateItem = Self(base: .duplicateItem)
        /// An option of an execution, or a setting of a runner, is beyond what it may be.
        public static let invalidOptions = Self(base: .invalidOptions)
        /// The idempotency key belongs to a pipeline of another workflow, or with another input; the message names it. See
        /// ``ExecutionOptions/idempotencyKey``.
        public static let keyConflict = Self(base: .keyConflict)
        /// Tasks run workflows deeper than ``RunnerConfiguration/maximumDepth``.
        public static let tooDeep = Self(base: .tooDeep)
        /// No runner that is known here can go on with a pipeline that a task waits for.
        public static let stranded = Self(base: .stranded)
        /// A task holds one of the pool's connections and asks for what may need another: with enough such tasks, none would get
        /// one.
        public static let nestedConnection = Self(base: .nestedConnection)
        /// A pipeline did not end in the time that a caller would wait for it; it goes on. See ``DefaultRunner/result(of:within:)``.
        public static let deadlineExceeded = Self(base: .deadlineExceeded)
        /// A pipeline did not complete; see ``PipelineResult/completed()``.
        public static let notCompleted = Self(base: .notCompleted)

        /// The code's name.
        public var description: String { self.base.rawValue }
    }

    /// What went wrong.
    public let code: Code
    /// What it was about, in words.
    public let message: String
    /// The error that caused this one, such as a `PostgresError`.
    public let underlying: (any Error)?
    /// Where the call stands that failed.
    public let fileID: String
    /// The line of the call that failed.
    public let line: Int
    /// Whether it ended the waiting for a child that goes on, for nothing that the task itself did.
    var isCutOff = false
    /// True when the same was tried again and again and is not worth another try, although its kind may pass.
    var isLasting = false

    package init(
        _ code: Code, _ message: String, underlying: (any Error)? = nil, fileID: String = #fileID, line: Int = #line
    ) {
        self.code = code
        self.message = message
        self.underlying = underlying
        self.fileID = fileID
        self.line = line
    }
}

extension PipelineError: CustomStringConvertible {
    /// The code, what it was about, and the cause.
    public var description: String {
        let cause = self.underlying.map { " (\($0))" } ?? ""
        return "\(self.code): \(self.message)\(cause)"
    }
}

extension PipelineError {
    /// Whether the same call may succeed when the database is back: what was underneath says so.
    var isTransient: Bool {
        self.code == .storageFailed && !self.isLasting && (self.underlying as? any TransientError)?.isTransient == true
    }

    /// True when the database refuses what is to be stored, whenever that is tried.
    var isRefusal: Bool {
        (self.code == .storageFailed || self.code == .noEngineAccess) && self.underlying != nil && !self.isTransient
            && !self.isUnreached
    }

    /// True when the database heard nothing of it: it let nobody in, or nobody as the tenant's role, which a maintenance window or
    /// another password does for a while, or its file may not be written just now. That says nothing about what was to be stored.
    var isUnreached: Bool {
        switch self.underlying {
        case let error as PostgresError: error.code == .connectionFailed || error.code == .labelRefused
        case let error as SQLiteError: error.code == .readOnly
        default: false
        }
    }

    /// True when the database can't be had just now, whatever is asked of it; otherwise what failed may be one thing's alone.
    var isAway: Bool {
        let state = (self.underlying as? PostgresError)?.sqlState
        return self.isUnreached || self.isTransient && !["55P03", "57014", "40001", "40P01"].contains(state)
    }

    /// True when the server itself ended a statement: it has a `statement_timeout`, or somebody cancelled it.
    var isTimeoutOfServer: Bool {
        guard let error = self.underlying as? PostgresError else { return false }
        return error.sqlState == "57014" && error.code == .rejectedByServer
    }

    /// The code of the database's refusal, in plain letters.
    var refusalCode: String {
        switch self.underlying {
        case let error as PostgresError: error.sqlState.map { "SQLSTATE \($0)" } ?? "\(error.code)"
        case let error as SQLiteError: "\(error.code)"
        default: "\(self.code)"
        }
    }

    /// True when a statement was ended because it took longer than it may.
    var isOverdue: Bool {
        guard let error = self.underlying as? PostgresError else { return false }
        return error.code == .deadlineExceeded || error.sqlState == "57014"
    }

    /// True when the next try must go by itself: it may wait for somebody's lock again, or take longer than the server allows, and
    /// whatever is gathered with it would too.
    var mustGoAlone: Bool { self.isContention || self.isTimeoutOfServer }

    /// Whether somebody else held a lock for too long, on one of several things that were to be written together.
    var isContention: Bool { (self.underlying as? PostgresError)?.sqlState == "55P03" }
}
