public import FoundationEssentials
public import Logging

extension DefaultRunner {
    /// Makes a runner that keeps its pipelines in an SQLite file: for a program that has no server, and for tests.
    ///
    /// The file is made when it is missing; its directory must be there. Two files beside it, ending in `-wal` and `-shm`,
    /// belong to it. Several processes of one machine may have the file open, but not over a network file system. Each tenant
    /// has a file of its own. Its tasks have no database of the tenant's: `withConnection` and transactional tasks fail with
    /// ``PipelineError/Code/noDatabase``. What another process puts into the queue is found by the next sweep.
    ///
    /// The file gets shorter after pipelines were deleted, by a ``RunnerConfiguration/retention`` or ``prune(endedBefore:limit:)``:
    /// all but 4 MiB of free pages, or an eighth of what holds something, goes back to the file system. A file that another
    /// program has made keeps its size until ``compact()`` was called once, unless it was made with `auto_vacuum = INCREMENTAL`.
    ///
    /// ```swift
    /// let runner = try await DefaultRunner(sqliteAt: URL(filePath: "/var/lib/acme/pipelines.db"), workflows: [etl])
    /// ```
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/storageFailed`` when the file can't be used; its
    ///   ``PipelineError/underlying`` error is an ``SQLiteError``, or a `MigrationError` when another version of this library
    ///   has changed the file. With ``PipelineError/Code/duplicateWorkflow`` when two workflows have one name.
    public convenience init(
        sqliteAt url: URL, sqlite: SQLiteConfiguration = SQLiteConfiguration(), workflows: [Workflow] = [],
        configuration: RunnerConfiguration = RunnerConfiguration(), logger: Logger? = nil, fileID: String = #fileID,
        line: Int = #line
    ) async throws(PipelineError) {
        try configuration.check(fileID: fileID, line: line)
        let store = try await SQLiteWorkflowStore(opening: url, configuration: sqlite, fileID: fileID, line: line)
        try self.init(
            store: store, database: nil, workflows: workflows, configuration: configuration, logger: logger,
            fileID: fileID, line: line)
    }

    /// Writes the runner's SQLite file anew, without free pages; from then on it gets shorter by itself after deletions.
    ///
    /// That is for a file that another program has made: those that a runner makes don't need it. The file is this call's alone
    /// meanwhile: other writes wait, fail after ``SQLiteConfiguration/busyTimeout``, and are tried again as long as
    /// ``RunnerConfiguration/databasePatience`` lasts. It takes up to twice the file's size on the disk. The file is as short as it
    /// gets once nobody reads any more what was before. Cancelling the caller has no effect.
    ///
    /// - Throws: ``PipelineError`` with ``PipelineError/Code/notPossible`` when the runner's pipelines are in no SQLite file, and
    ///   with ``PipelineError/Code/storageFailed`` when others write to it for too long or the disk is full; the file is as before
    ///   then.
    public func compact() async throws(PipelineError) {
        guard let store = self.store as? SQLiteWorkflowStore else {
            throw PipelineError(
                .notPossible,
                "only an SQLite file can be compacted, and this runner has none; PostgreSQL does it by itself")
        }
        try await store.database.rewrite()
    }
}
