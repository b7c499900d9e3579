import CloacinaPostgres

extension MigrationRunner {
    /// Applies a no-transaction migration: says so in the history first, runs its one statement, then looks what is there.
    ///
    /// - Returns: The number of attempts.
    func applyAlone(_ job: MigrationJob) async throws(MigrationError) -> Int {
        if job.step.resumes, try await self.tookEffect(job) {
            try await self.finish(job, duration: nil)
            return 1
        }
        try await job.hold.confirmed(for: job)
        try await self.write(job, .running)
        let started = self.pace.now()
        var attempt = 1
        while true {
            try await self.dropInvalidIndex(job)
            do throws(PostgresError) {
                try await self.runAlone(job.migration.up[0], job: job)
                break
            } catch {
                let isClean = try await self.isClean(job, after: error)
                // Who waited in vain for a minute would wait for the same session again, unless that was ended; a deadlock is
                // over.
                var mayRepeat = attempt < self.configuration.maximumAttempts
                if mayRepeat, !isClean || error.sqlState != "40P01" {
                    mayRepeat = await self.relieved(job, error, isClean)
                }
                if mayRepeat {
                    try await job.hold.confirmed(for: job)
                    try await self.backOff(afterAttempt: attempt)
                    attempt += 1
                } else {
                    throw await self.failedAlone(job, error, isClean: isClean)
                }
            }
        }
        try await self.finish(job, duration: self.pace.now() - started)
        return attempt
    }

    /// True when somebody without any business there was in the way of a statement that may be repeated, and has been ended.
    private func relieved(_ job: MigrationJob, _ error: PostgresError, _ isClean: Bool) async -> Bool {
        let isDrop = if case .drop? = job.migration.indexChange { true } else { false }
        guard error.isContention, isClean || isDrop else { return false }
        return await self.relief?() == true
    }

    /// Records success, once the catalogs and the file's own queries agree.
    private func finish(_ job: MigrationJob, duration: Duration?) async throws(MigrationError) {
        try await job.hold.confirmed(for: job)
        let tookEffect = try await self.tookEffect(job)
        guard tookEffect || !job.migration.isInspectable else {
            try await self.write(job, .failedUnknown, error: "verifyFailed")
            throw job.error(.verifyFailed, reason: "the statement ran, but what it should have made isn't there")
        }
        try await self.write(job, .applied, duration: duration)
    }

    /// Whether the index is as the migration wants it, and the verify queries are true.
    private func tookEffect(_ job: MigrationJob) async throws(MigrationError) -> Bool {
        switch job.migration.indexChange {
        case .create(let name)?: guard try await self.index(name, job) == .valid else { return false }
        case .drop(let name)?: guard try await self.index(name, job) == .missing else { return false }
        case nil: break
        }
        guard !job.migration.verify.isEmpty else { return job.migration.indexChange != nil }
        let entry = [
            MigrationQueries.enter(
                job.target, lockTimeout: self.configuration.lockTimeout, serverVersion: self.connection.serverVersion),
            MigrationQueries.standsIn(job.target),
        ]
        let results = try await self.asking(job.target.schema) { () throws(PostgresError) in
            try await self.connection.pipeline(entry + job.migration.verify.map(MigrationQueries.text))
        }
        return results.dropFirst(entry.count).allSatisfy(\.isOneTrue)
    }

    private enum IndexState { case missing, invalid, valid }

    private func index(_ name: String, _ job: MigrationJob) async throws(MigrationError) -> IndexState {
        try await self.asking(job.target.schema) { () throws(PostgresError) in
            let rows = try await self.connection.query(MigrationQueries.index(named: name, in: job.schemaOID))
            guard let row = rows.first else { return .missing }
            return try row.value("valid") ? .valid : .invalid
        }
    }

    /// Removes what a broken-off build left: `IF NOT EXISTS` would take it for the index.
    private func dropInvalidIndex(_ job: MigrationJob) async throws(MigrationError) {
        guard case .create(let name)? = job.migration.indexChange, try await self.index(name, job) == .invalid
        else { return }
        let drop = SQLStatement(
            text: "DROP INDEX CONCURRENTLY IF EXISTS \(PostgresIdentifier.quote(name))", line: job.migration.up[0].line)
        do throws(PostgresError) {
            try await self.runAlone(drop, job: job)
        } catch {
            throw await self.failedAlone(job, error, isClean: false)
        }
    }

    /// Whether nothing is left of a statement that failed; an invalid index is, until it has been dropped.
    private func isClean(_ job: MigrationJob, after error: PostgresError) async throws(MigrationError) -> Bool {
        guard let state = error.sqlState, error.migrationCode != .connectionFailed, error.severity != "FATAL" else {
            return false
        }
        switch job.migration.indexChange {
        case .create(let name)?:
            try await self.dropInvalidIndex(job)
            return try await self.index(name, job) == .missing || state == "42P07"
        case .drop(let name)?:
            return try await self.index(name, job) == .valid || state == "42704"
        case nil:
            // Refused before it began: syntax and names, unsupported, wrong transaction state, no lock.
            return ["42", "0A", "25"].contains(String(state.prefix(2))) || state == "55P03"
        }
    }

    private func failedAlone(_ job: MigrationJob, _ error: PostgresError, isClean: Bool) async -> MigrationError {
        let statement = job.migration.up[0]
        var code: MigrationError.Code = isClean ? .failedClean : .failedUnknown
        var reason: String? =
            "what it left behind isn't known; "
            + (job.migration.isInspectable
                ? "run again to have it looked at"
                : "look at the schema, then settle it with `migrate resolve --as applied` (it is all there) or `--as rerun`")
        var sessions: [MigrationError.Session] = []
        if isClean {
            reason = MigrationAdvice.reason(for: error, statement: statement, in: job.target) ?? "nothing of it is left"
        }
        if isClean, error.isContention {
            code = .lockTimeout
            reason =
                "others kept it waiting for \(self.configuration.concurrentLockTimeout.components.seconds) s; nothing "
                + "of it is left. A concurrent build waits for every transaction that is older: end it, or run again later"
            sessions = await self.waitedFor(statement, job: job)
        }
        if error.code == .connectionClosed, error.advice == SessionIdentity.advice {
            return job.error(
                .sessionChanged, reason: SessionIdentity.advice + "; the session was closed", underlying: error)
        }
        let failure = job.error(code, reason: reason, statement: statement, sessions: sessions, underlying: error)
        // If this doesn't get through, the row stays `running`, which the next run takes for unknown as well.
        try? await self.write(
            job, isClean ? .failedClean : .failedUnknown, error: MigrationJob.historyText(of: failure))
        return failure
    }

    /// Those that hold a lock on a table of the schema, or else a snapshot that a concurrent build waits for.
    private func waitedFor(_ statement: SQLStatement, job: MigrationJob) async -> [MigrationError.Session] {
        let holders = await self.blockers(of: statement, job: job)
        let transactions = await self.sessions(MigrationQueries.openTransactions)
        let known = Set(holders.map(\.pid))
        return holders + transactions.filter { !known.contains($0.pid) }
    }

    private func write(
        _ job: MigrationJob, _ state: MigrationRecord.State, duration: Duration? = nil, error: String? = nil
    ) async throws(MigrationError) {
        let changed = try await self.asking(job.target.schema) { () throws(PostgresError) in
            try await self.connection.pipeline(
                MigrationQueries.takeRole(of: job.target)
                    + [job.record(state, duration: duration, error: error)]
            ).last?.affectedRows
        }
        guard changed == 1 || state != .running else {
            throw job.error(.failedClean, reason: "the history already has it as applied")
        }
    }

    /// Runs a statement by itself, under session settings that are put back afterwards: `SET LOCAL` needs a transaction.
    private func runAlone(_ statement: SQLStatement, job: MigrationJob) async throws(PostgresError) {
        let restore = MigrationQueries.clean(path: job.session.path)
        do throws(PostgresError) {
            try await self.connection.query(
                MigrationQueries.settings(
                    job.target, lockTimeout: self.configuration.concurrentLockTimeout,
                    serverVersion: self.connection.serverVersion, isLocal: false))
            try await self.connection.query(MigrationQueries.text(of: statement))
            guard try await self.connection.query(SessionIdentity.query).serves(job.target) else {
                // It is somebody else's session by now.
                await self.connection.close()
                throw PostgresError(.connectionClosed, advice: SessionIdentity.advice)
            }
            await self.putBack(restore)
        } catch {
            await self.putBack(restore)
            throw error
        }
    }

    /// Puts settings back even in a cancelled task; hence a task of its own, awaited at once.
    func putBack(_ restore: [PostgresStatement]) async {
        let connection = self.connection
        await Task {
            // A session that can't be put back must not be used again.
            if (try? await connection.pipeline(restore)) == nil { await connection.close() }
        }.value
    }
}
