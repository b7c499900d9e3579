import CloacinaPostgres
import Logging

/// A migration's statements as one flush inside a transaction, and what each of them was.
struct MigrationScript: Sendable {
    let job: MigrationJob
    let statements: [PostgresStatement]
    private let firstUp: Int
    private let firstVerify: Int

    init(_ job: MigrationJob, lockTimeout: Duration, serverVersion: Int) {
        self.job = job
        let entry = [
            MigrationQueries.enter(
                job.target, lockTimeout: lockTimeout, serverVersion: serverVersion, waitsForDisk: job.waitsForDisk),
            MigrationQueries.standsIn(job.target),
        ]
        let up = job.migration.up.map(MigrationQueries.text)
        // A trigger on the history may run somebody's code, too.
        let stands = SessionIdentity.assertion(job.target)
        self.statements =
            entry + up + job.migration.verify.map(MigrationQueries.text)
            + [stands, job.record(.applied), stands] + job.hold.assertion
        self.firstUp = entry.count
        self.firstVerify = entry.count + up.count
    }

    /// True when results have to be looked at before anything is committed.
    var needsLook: Bool { !self.job.migration.verify.isEmpty }

    /// The place of the history row's statement, between the assertions of as whom the session acts.
    private var record: Int { self.statements.count - 2 - self.job.hold.assertion.count }

    /// Looks at the results, before anything is committed.
    func check(_ results: [PostgresRows]) throws(MigrationError) {
        for (query, result) in zip(self.job.migration.verify, results[self.firstVerify...]) where !result.isOneTrue {
            throw self.job.error(.verifyFailed, reason: "the verify query isn't true", statement: query)
        }
    }

    /// The error when one of the runner's own assertions failed; nil for any other failure.
    func assertionFailure(_ error: PostgresError, at index: Int?) -> MigrationError? {
        guard error.sqlState == SessionIdentity.assertionFailure, let index, !self.isCommit(index) else { return nil }
        switch index - self.record {
        case -1, 1: return self.job.error(.sessionChanged, reason: SessionIdentity.advice + "; it was rolled back")
        case 0: return self.job.error(.failedClean, reason: "the history already has it as applied")
        case 2: return self.job.error(.connectionFailed, reason: LeaseHold.lostSession)
        default: return nil
        }
    }

    /// The file's statement that was the pipeline's at an index; nil for one of ours.
    func statement(at index: Int?) -> SQLStatement? {
        guard let index, index >= self.firstUp else { return nil }
        let all = self.job.migration.up + self.job.migration.verify
        let offset = index - self.firstUp
        return offset < all.count ? all[offset] : nil
    }

    /// The failure of one of the runner's own checks; nil for the file's statements.
    func wrongPlace(at index: Int?) -> MigrationError? {
        if index == self.firstUp - 1 {
            return self.job.error(.wrongSchema, reason: "the role that applies it can't use the schema")
        }
        return nil
    }

    /// True when it was the COMMIT that failed: a deferred constraint, then.
    func isCommit(_ index: Int?) -> Bool { index == self.statements.count }
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
        let script = MigrationScript(
            job, lockTimeout: self.configuration.lockTimeout, serverVersion: self.connection.serverVersion)
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
                _ = await self.relief?()
                try await self.backOff(afterAttempt: attempt)
                attempt += 1
            } catch let failure as ScriptFailure {
                throw await self.failed(script, failure)
            } catch let error as MigrationError {
                await self.recordFailure(job, error)
                throw job.error(error)
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
        let afterwards = [SessionIdentity.query] + MigrationQueries.clean(path: script.job.session.path)
        let results: [PostgresRows]
        do {
            results =
                script.needsLook
                ? try await self.connection.transactionBlock(script.statements, afterwards: afterwards) { results in
                    try script.check(results)
                } : try await self.connection.transactionBlock(script.statements, afterwards: afterwards)
        } catch let error as PostgresError {
            throw ScriptFailure(error: error, index: error.statementIndex)
        }
        try await self.check(results.dropFirst(script.statements.count).first, after: script.job)
    }

    private func failed(_ script: MigrationScript, _ failure: ScriptFailure) async -> MigrationError {
        let job = script.job
        let code = failure.error.migrationCode
        var error = job.error(
            code ?? .failedClean,
            reason: script.isCommit(failure.index) && code == nil
                ? "a check that the file defers to its end, as the server says" : nil,
            statement: script.statement(at: failure.index), underlying: failure.error)
        if let asserted = script.assertionFailure(failure.error, at: failure.index) {
            error = asserted
        } else if code == nil, let wrongPlace = script.wrongPlace(at: failure.index) {
            error = wrongPlace
        }
        await self.recordFailure(job, error)
        return error
    }

    func backOff(afterAttempt attempt: Int) async throws(MigrationError) {
        let schedule = RetrySchedule(
            first: self.configuration.firstRetryDelay, longest: self.configuration.longestRetryDelay)
        try await self.wait(schedule.wait(afterAttempt: attempt, random: self.pace.random()))
    }

    /// Leaves word of a failure that left nothing else; the failure counts even when this doesn't work out.
    private func recordFailure(_ job: MigrationJob, _ error: MigrationError) async {
        // Whoever lost the lease has no business with the history any more.
        guard ![.cancelled, .connectionFailed, .lockBusy].contains(error.code) else { return }
        _ = try? await self.connection.pipeline(
            MigrationQueries.takeRole(of: job.target)
                + [job.record(.failedClean, error: MigrationJob.historyText(of: error))])
    }

    func blockers(of statement: SQLStatement?, job: MigrationJob) async -> [MigrationError.Session] {
        let names = (statement?.names ?? []).sorted()
        return await self.sessions(MigrationQueries.lockHolders(in: job.schemaOID, names: names))
    }
}
