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
}
