import CloacinaPostgres
import Logging

/// One migration on its way into one schema.
struct MigrationJob: Sendable {
    let step: MigrationPlan.Step
    let source: String
    let target: MigrationTarget
    let schemaOID: UInt32

    var migration: Migration { self.step.migration }

    var metadata: Logger.Metadata {
        [
            "cloacina.schema": "\(self.target.schema)", "cloacina.migration.source": "\(self.source)",
            "cloacina.migration.version": "\(self.migration.version)",
        ]
    }

    func record(
        _ state: MigrationRecord.State, duration: Duration? = nil, error: String? = nil
    ) -> PostgresStatement {
        MigrationQueries.record(
            self.migration, of: self.source, in: self.target, as: state, duration: duration, error: error)
    }

    func error(
        _ code: MigrationError.Code, reason: String? = nil, statement: SQLStatement? = nil,
        sessions: [MigrationError.Session] = [], underlying: (any Error)? = nil
    ) -> MigrationError {
        MigrationError(
            code, line: statement?.line, schema: self.target.schema, source: self.source,
            version: self.migration.version, reason: reason, sessions: sessions, statement: statement?.text,
            underlying: underlying)
    }
}

/// A migration's statements as one flush inside a transaction, and what each of them was.
struct MigrationScript: Sendable {
    let job: MigrationJob
    let statements: [PostgresStatement]
    private let firstUp: Int
    private let firstVerify: Int

    init(_ job: MigrationJob, lockTimeout: Duration) {
        self.job = job
        let entry = [MigrationQueries.enter(job.target, lockTimeout: lockTimeout), MigrationQueries.currentSchema]
        let up = job.migration.up.map(MigrationQueries.text)
        self.statements =
            entry + up + job.migration.verify.map(MigrationQueries.text)
            + [SessionIdentity.assertion(job.target), job.record(.applied), SessionIdentity.query]
        self.firstUp = entry.count
        self.firstVerify = entry.count + up.count
    }

    /// Looks at the results, before anything is committed.
    func check(_ results: [PostgresRows]) throws(MigrationError) {
        guard (try? results[self.firstUp - 1].single(as: String?.self)) == self.job.target.schema else {
            throw self.job.error(.wrongSchema, reason: "the role that applies it can't use the schema")
        }
        for (query, result) in zip(self.job.migration.verify, results[self.firstVerify...]) where !result.isOneTrue {
            throw self.job.error(.verifyFailed, reason: "the verify query isn't true", statement: query)
        }
        guard results[results.count - 1].serves(self.job.target) else {
            throw self.job.error(.sessionChanged, reason: SessionIdentity.advice + "; it was rolled back")
        }
        guard results[results.count - 2].affectedRows == 1 else {
            throw self.job.error(.failedClean, reason: "the history already has it as applied")
        }
    }

    /// The error when the file left the session acting as somebody else, or looking elsewhere; nil for any other failure.
    func sessionFailure(_ error: PostgresError, at index: Int?) -> MigrationError? {
        guard index == self.statements.count - 3, error.sqlState == SessionIdentity.assertionFailure else { return nil }
        return self.job.error(.sessionChanged, reason: SessionIdentity.advice + "; it was rolled back")
    }

    /// The file's statement that was the pipeline's at an index; nil for one of ours.
    func statement(at index: Int?) -> SQLStatement? {
        guard let index, index >= self.firstUp else { return nil }
        let all = self.job.migration.up + self.job.migration.verify
        let offset = index - self.firstUp
        return offset < all.count ? all[offset] : nil
    }
}

extension PostgresRows {
    /// Whether the result is one row whose first column is true.
    var isOneTrue: Bool { (try? self.single(as: Bool.self)) == true }
}

extension MigrationRunner {
    /// Applies a migration in one transaction with its history row; tries again while others hold its locks.
    ///
    /// - Returns: The number of attempts.
    func applyInTransaction(_ job: MigrationJob) async throws(MigrationError) -> Int {
        let script = MigrationScript(job, lockTimeout: self.configuration.lockTimeout)
        var attempt = 1
        while true {
            do {
                try await self.attempt(script)
                return attempt
            } catch let failure as ScriptFailure where failure.error.isContention {
                let statement = script.statement(at: failure.index)
                guard attempt < self.configuration.maximumAttempts else {
                    throw job.error(
                        .lockTimeout,
                        reason: "gave up after \(attempt) attempts; nothing was changed", statement: statement,
                        sessions: await self.blockers(of: statement, job: job), underlying: failure.error)
                }
                self.logger?.debug("migration waits for a lock", metadata: job.metadata)
                try await self.backOff(afterAttempt: attempt)
                attempt += 1
            } catch let failure as ScriptFailure {
                if let error = script.sessionFailure(failure.error, at: failure.index) {
                    await self.recordFailure(job, error)
                    throw error
                }
                throw await self.failed(job, failure.error, statement: script.statement(at: failure.index))
            } catch let error as MigrationError {
                await self.recordFailure(job, error)
                throw error
            } catch let error as PostgresError {
                // BEGIN or COMMIT: after a lost COMMIT, only the history knows.
                throw await self.failed(job, error, statement: nil)
            } catch {
                throw job.error(.cancelled, underlying: error)
            }
        }
    }

    private struct ScriptFailure: Error {
        let error: PostgresError
        let index: Int?
    }

    private func attempt(_ script: MigrationScript) async throws {
        try await self.connection.withTransaction { transaction in
            let results: [PostgresRows]
            do throws(PostgresError) {
                results = try await transaction.pipeline(script.statements)
            } catch {
                throw ScriptFailure(error: error, index: error.statementIndex)
            }
            try script.check(results)
        }
    }

    private func failed(
        _ job: MigrationJob, _ error: PostgresError, statement: SQLStatement?
    ) async -> MigrationError {
        let failure = job.error(error.migrationCode ?? .failedClean, statement: statement, underlying: error)
        await self.recordFailure(job, failure)
        return failure
    }

    func backOff(afterAttempt attempt: Int) async throws(MigrationError) {
        let schedule = RetrySchedule(
            first: self.configuration.firstRetryDelay, longest: self.configuration.longestRetryDelay)
        try await self.wait(schedule.wait(afterAttempt: attempt, random: self.pace.random()))
    }

    /// Leaves word of a failure that left nothing else; the failure counts even when this doesn't work out.
    private func recordFailure(_ job: MigrationJob, _ error: MigrationError) async {
        guard error.code != .cancelled, error.code != .connectionFailed else { return }
        let text = error.code.description + (error.sqlState.map { " " + $0 } ?? "")
        _ = try? await self.connection.pipeline(
            MigrationQueries.takeRole(of: job.target) + [job.record(.failedClean, error: text)])
    }

    func blockers(of statement: SQLStatement?, job: MigrationJob) async -> [MigrationError.Session] {
        let names = (statement?.names ?? []).sorted()
        return await self.sessions(MigrationQueries.lockHolders(in: job.schemaOID, names: names))
    }
}
