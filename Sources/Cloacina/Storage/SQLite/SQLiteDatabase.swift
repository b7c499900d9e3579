import CloacinaSchema
import Dispatch
import FoundationEssentials
import GRDB

/// One file in WAL mode: a connection that writes, and some that read what is committed.
///
/// SQLite waits for locks and for the disk in the calling thread; that is always one of the connections' own queues, never
/// the cooperative pool. A caller's cancellation reaches nothing here: what happened must be written.
final class SQLiteDatabase: Sendable {
    let path: String
    private let pool: DatabasePool
    private let identity: FileIdentity?

    private init(path: String, configuration: SQLiteConfiguration) throws {
        var settings = Configuration()
        settings.label = "cloacina"
        settings.maximumReaderCount = max(1, configuration.maximumReaders)
        settings.prepareDatabase { database in
            try database.execute(sql: SQLiteQueries.settings(configuration))
            // Only while the file is empty: later it has no effect, and where it is set already it would wait for a lock.
            guard !database.configuration.readonly,
                try Int.fetchOne(database, sql: "PRAGMA page_count") == 0
            else { return }
            try database.execute(sql: SQLiteQueries.incrementalVacuum)
        }
        self.path = path
        self.pool = try DatabasePool(path: path, configuration: settings)
        self.identity = FileIdentity(path: path)
        // The pool sets NORMAL on the connection that writes, after it was prepared.
        try self.pool.writeWithoutTransaction { database in
            try database.execute(sql: SQLiteQueries.settings(configuration))
            guard try String.fetchOne(database, sql: "PRAGMA encoding") == "UTF-8" else {
                throw SQLiteError(.rejected, "the file's encoding isn't UTF-8")
            }
            try SQLiteMigrations.migrate(database)
        }
    }

    /// Closing may write to the disk, which must not hold up whoever gives up the last reference.
    deinit {
        let pool = self.pool
        DispatchQueue(label: "cloacina.close").async { try? pool.close() }
    }

    /// Opens a file, makes it when it is missing, and brings its tables up to date.
    ///
    /// Several processes may do so at the same time. Turning WAL on doesn't wait for locks by itself, hence the loop.
    static func open(
        _ path: String, configuration: SQLiteConfiguration
    ) async throws(PipelineError) -> SQLiteDatabase {
        let deadline = ContinuousClock.now.advanced(by: configuration.busyTimeout)
        while true {
            do throws(PipelineError) {
                return try await self.outside("the file can't be opened") { answer in
                    DispatchQueue(label: "cloacina.open").async {
                        answer(Result { try SQLiteDatabase(path: path, configuration: configuration) })
                    }
                }
            } catch {
                let isBusy = (error.underlying as? SQLiteError)?.code == .busy
                guard isBusy, ContinuousClock.now < deadline else { throw error }
                // can't trap: 50 at most
                do { try await Task.sleep(for: .milliseconds(.random(in: 5...50))) } catch { break }
            }
        }
        throw PipelineError(.cancelled, "the caller was cancelled while others opened the file")
    }

    /// Reads what is committed, as of one moment.
    func read<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(PipelineError) -> Value {
        try await Self.outside(Self.failure) { answer in
            self.pool.asyncRead { database in
                answer(
                    Result {
                        try self.checkIdentity()
                        return try body(database.get())
                    })
            }
        }
    }

    /// Writes in one transaction, which has the file to itself from its beginning. When it throws, nothing is stored.
    func write<Value: Sendable>(
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(PipelineError) -> Value {
        try await Self.outside(Self.failure) { answer in
            self.pool.asyncWriteWithoutTransaction { database in answer(Result { try self.commit(database, body) }) }
        }
    }

    /// Writes in one transaction if there is something to write; otherwise takes no lock.
    func write<Value: Sendable>(
        if isNeeded: @escaping @Sendable (Database) throws -> Bool, else nothing: Value,
        _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(PipelineError) -> Value {
        try await Self.outside(Self.failure) { answer in
            self.pool.asyncWriteWithoutTransaction { database in
                answer(
                    Result {
                        try self.checkIdentity()
                        return try isNeeded(database) ? try self.commit(database, body) : nothing
                    })
            }
        }
    }

    /// Gives back to the file system what the file no longer needs, 256 pages at a time (1 MiB, as files are made), with others'
    /// writes in between, and at most 1 GiB.
    ///
    /// Some free pages stay, so that a queue in its stride doesn't shrink and grow for ever: 4 MiB, or an eighth of what holds
    /// something if that is more. A file without `auto_vacuum = INCREMENTAL` is left as it is. Ends early when the task is
    /// cancelled, and when somebody reads for so long that the log would grow instead.
    func giveBackSpace() async throws(PipelineError) {
        var steps = 0
        while steps < Self.maximumSteps, !Task.isCancelled {
            let isWorthIt: @Sendable (Database) throws -> Bool = { try $0.excessPages() >= Self.pagesPerStep }
            let hasGiven = try await self.write(if: isWorthIt, else: false) { database in
                // Each page is a step of the statement.
                try database.run("PRAGMA incremental_vacuum(\(Self.pagesPerStep))", [])
                return true
            }
            guard hasGiven else { break }
            steps += 1
            if steps.isMultiple(of: 16), try await self.checkpoint() > Self.maximumBacklog { return }
        }
        if steps > 0 { _ = try await self.checkpoint() }
    }

    /// Writes the whole file anew, without free pages, as one that gives them back from then on.
    func rewrite() async throws(PipelineError) {
        try await Self.outside(Self.failure) { answer in
            self.pool.asyncWriteWithoutTransaction { database in
                answer(
                    Result {
                        try self.checkIdentity()
                        // What it sets counts from the next VACUUM.
                        try database.execute(sql: SQLiteQueries.incrementalVacuum)
                        try database.execute(sql: "VACUUM")
                    })
            }
        }
        _ = try await self.checkpoint()
    }

    /// Moves the log into the file, which only then gets shorter, as far as nobody reads what was before. Nobody waits for it.
    ///
    /// - Returns: How many pages could not be moved; 0 when somebody else is at it.
    private func checkpoint() async throws(PipelineError) -> Int {
        try await Self.outside(Self.failure) { answer in
            self.pool.asyncWriteWithoutTransaction { database in
                answer(
                    Result {
                        do {
                            let (all, done) = try database.checkpoint(.passive)
                            return max(0, all - done)
                        } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY {
                            return 0
                        }
                    })
            }
        }
    }

    private static let pagesPerStep = 256
    private static let maximumSteps = 1_024
    /// The log keeps room for as many.
    private static let maximumBacklog = 4_096

    /// Runs SQL as it is: for tests, which use it to break things.
    func execute(_ sql: String) async throws(PipelineError) {
        try await Self.outside(Self.failure) { answer in
            self.pool.asyncWriteWithoutTransaction { database in answer(Result { try database.execute(sql: sql) }) }
        }
    }

    /// What a query answers on the connection that writes or on one that reads: for tests.
    func texts(_ sql: String, ofReader: Bool = false) async throws(PipelineError) -> [String] {
        if ofReader { return try await self.read { try String.fetchAll($0, sql: sql) } }
        return try await self.write { try String.fetchAll($0, sql: sql) }
    }

    private func commit<Value>(_ database: Database, _ body: (Database) throws -> Value) throws -> Value {
        var value: Value?
        try database.inTransaction(.immediate) {
            try self.checkIdentity()
            value = try body(database)
            return .commit
        }
        guard let value else { throw SQLiteError(.rejected, "the transaction was not run") }
        return value
    }

    private func checkIdentity() throws {
        guard FileIdentity(path: self.path) == self.identity else {
            throw SQLiteError(.moved, "the file was deleted, renamed or replaced while it was open")
        }
    }

    private static let failure = "the pipeline can't be read or written"

    /// Waits, without a thread, for what answers elsewhere.
    private static func outside<Value: Sendable>(
        _ failure: String, _ begin: (@escaping @Sendable (Result<Value, any Error>) -> Void) -> Void
    ) async throws(PipelineError) -> Value {
        let result = await withCheckedContinuation { continuation in begin { continuation.resume(returning: $0) } }
        do {
            return try result.get()
        } catch {
            throw PipelineError(
                .storageFailed, failure, underlying: error is MigrationError ? error : SQLiteError(error))
        }
    }
}

extension Database {
    /// The number of free pages beyond those that should stay; 0 in a file that can't give them back.
    fileprivate func excessPages() throws -> Int {
        // Reading these also learns what others have made of the file.
        let free = try Int.fetchOne(self, sql: "PRAGMA freelist_count") ?? 0
        let all = try Int.fetchOne(self, sql: "PRAGMA page_count") ?? 0
        guard free > 0, try Int.fetchOne(self, sql: "PRAGMA auto_vacuum") == 2 else { return 0 }
        let size = max(512, try Int.fetchOne(self, sql: "PRAGMA page_size") ?? 0)
        return free - max((4 << 20) / size, (all - free) / 8)
    }
}
