import CloacinaPostgres
import FoundationEssentials
import GRDBSQLite
import Glibc
import Synchronization

@testable import Cloacina

/// Where a process kills itself, as SIGKILL does.
enum DeathPoint: Sendable, Hashable, Codable {
    typealias Call = StoreWrite

    enum Moment: String, Sendable, Hashable, Codable, CaseIterable {
        /// Before the store is asked.
        case before
        /// With half of the commit's last page in the write-ahead log.
        case torn
        /// With all of the commit in the write-ahead log, before SQLite has heard so.
        case written
        /// When the store has answered, before the runner has heard so.
        case after
    }

    /// At the n-th call of a kind, from 0.
    case write(Call, Int, Moment)
    /// In the code of a task, when its effect is there.
    case task(String, attempt: Int)
}

/// A store over an SQLite file, whose process dies at one of its writes. One write goes after the other, so that each death is in
/// the write that it is meant for.
final class MortalStore: InterceptingWorkflowStore {
    let underlying: any WorkflowStore
    private let point: DeathPoint
    private let mayDie: Set<UUID>
    private let turn = SerialGate()
    private let calls = Mutex<[StoreWrite: Int]>([:])

    /// - Parameter mayDie: The other runners that it lets be looked for; those that it says nothing of live.
    init(_ store: any WorkflowStore, dyingAt point: DeathPoint, mayDie: Set<UUID>) {
        self.underlying = store
        self.point = point
        self.mayDie = mayDie
        LogWatch.begin()
    }

    func writing<R>(
        _ call: StoreWrite, _ write: () async throws(PipelineError) -> R
    ) async throws(PipelineError) -> R {
        do {
            return try await self.turn.withTurn {
                let number = self.calls.withLock { calls in
                    defer { calls[call, default: 0] += 1 }
                    return calls[call, default: 0]
                }
                guard case .write(call, number, let moment) = self.point else { return try await write() }
                if moment == .before { kill(getpid(), SIGKILL) }
                LogWatch.moment = moment
                // Whoever writes nothing does not die in the next write instead.
                defer { LogWatch.moment = nil }
                let result = try await write()
                if moment == .after { kill(getpid(), SIGKILL) }
                return result
            }
        } catch let error as PipelineError {
            throw error
        } catch {
            throw PipelineError(.storageFailed, "the caller was cancelled", underlying: error)
        }
    }

    func survey(everyOwner: Bool, at: Date) async throws(PipelineError) -> QueueSurvey {
        var survey = try await self.underlying.survey(everyOwner: everyOwner, at: at)
        survey.beats = survey.beats.filter { self.mayDie.contains($0.key) }
        return survey
    }
}

/// Stands between this process's SQLite and the kernel, and dies where the next commit ends.
private enum LogWatch {
    private struct State {
        var moment: DeathPoint.Moment?
        /// Whether the page comes next that makes what was written before a commit.
        var isAtEnd = false
    }

    private static let state = Mutex(State())

    /// When to die in the next commit.
    static var moment: DeathPoint.Moment? {
        get { self.state.withLock { $0.moment } }
        set { self.state.withLock { $0 = State(moment: newValue) } }
    }

    /// The moment to die at, when this is the page that ends a commit. The header of that page's frame, 24 bytes before it, says
    /// how long the file is then; the other frames' headers say 0 there.
    private static func end(with bytes: UnsafeRawBufferPointer) -> DeathPoint.Moment? {
        self.state.withLock { state in
            guard let moment = state.moment else { return nil }
            if state.isAtEnd { return moment }
            state.isAtEnd = unsafe bytes.count == 24 && bytes[4..<8].contains { $0 != 0 }
            return nil
        }
    }

    private static func write(
        _ buffer: UnsafeRawPointer?, _ count: Int, _ write: (UnsafeRawPointer?, Int) -> Int
    ) -> Int {
        let moment = unsafe self.end(with: UnsafeRawBufferPointer(start: buffer, count: count))
        if moment == .torn {
            _ = unsafe write(buffer, count / 2)
            kill(getpid(), SIGKILL)
        }
        let written = unsafe write(buffer, count)
        if moment == .written { kill(getpid(), SIGKILL) }
        return written
    }

    /// Takes the place of the calls by which SQLite writes, whichever of them it was built to use.
    static func begin() {
        typealias Write = @convention(c) (CInt, UnsafeRawPointer?, Int) -> Int
        typealias WriteAt = @convention(c) (CInt, UnsafeRawPointer?, Int, Int) -> Int
        let write: Write = { file, buffer, count in
            unsafe LogWatch.write(buffer, count) { unsafe Glibc.write(file, $0, $1) }
        }
        let writeAt: WriteAt = { file, buffer, count, offset in
            unsafe LogWatch.write(buffer, count) { unsafe pwrite(file, $0, $1, offset) }
        }
        guard let files = unsafe sqlite3_vfs_find(nil) else { return }
        let calls = unsafe [
            ("write", unsafeBitCast(write, to: sqlite3_syscall_ptr.self)),
            ("pwrite", unsafeBitCast(writeAt, to: sqlite3_syscall_ptr.self)),
            ("pwrite64", unsafeBitCast(writeAt, to: sqlite3_syscall_ptr.self)),
        ]
        for (name, call) in calls where unsafe files.pointee.xGetSystemCall(files, name) != nil {
            _ = unsafe files.pointee.xSetSystemCall(files, name, call)
        }
    }
}
