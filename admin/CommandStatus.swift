import ArgumentParser
import CloacinaSchema

/// What the process says to the shell; the same numbers for every command.
enum CommandStatus: Int32, Sendable, CaseIterable {
    case done = 0
    /// The work was refused or went wrong.
    case failed = 1
    /// The arguments make no sense, or a flag is missing; nothing was tried.
    case usage = 2
    /// Migrations are pending, a schema drifted, pipelines wait that no runner takes, or the development server does not run.
    case pending = 3
    /// A fleet operation worked for some tenants only.
    case someTenantsFailed = 4
    /// Somebody else holds the lock.
    case lockBusy = 5
    /// The server or the file system does not allow it.
    case privileges = 6
    /// Nothing is wrong with the request; the server can't serve it now.
    case tryAgainLater = 75

    /// The table that `--help` prints.
    static let explanation = """
        Exit codes: 0 done, 1 failed, 2 usage, 3 pending or drift found (dev status: not running; execution stranded: \
        something waits), 4 some tenants failed, 5 lock busy, 6 privileges, 75 try again later. An interrupted command ends by its signal.
        """
}

extension CommandStatus {
    /// Ends the command with this status, everything having been said; returns for ``CommandStatus/done``.
    func check() throws {
        if self != .done { throw ExitCode(self.rawValue) }
    }
}

/// An error the commands raise themselves: a sentence for the operator and the exit status that goes with it.
struct CommandError: Error, Sendable, Equatable, CustomStringConvertible {
    let status: CommandStatus
    let message: String
    /// What to do about it, on a line of its own.
    var hint: String?
    /// Everything that is wrong with migration files, in their order.
    var complaints: [MigrationComplaint] = []

    init(_ status: CommandStatus, _ message: String, hint: String? = nil) {
        self.status = status
        self.message = message
        self.hint = hint
    }

    var description: String { self.message }
}
