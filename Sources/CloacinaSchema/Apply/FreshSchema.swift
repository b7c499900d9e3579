package import CloacinaPostgres

/// What fills a schema that was created in the caller's own, still open transaction: history and all migrations, to be
/// sent in one pipeline with whatever else the caller does there.
///
/// It takes on the target's owner and path until the transaction ends, or the caller sets others. No lock is taken:
/// nobody else sees the schema yet.
package struct FreshSchema: Sendable {
    /// What to send, in order.
    package let statements: [PostgresStatement]
    /// What has to wait until the transaction has committed: the first no-transaction migration and all after it.
    /// ``MigrationRunner/apply(_:to:through:)`` does it.
    package let remaining: [Migration]
    /// The newest version of each source that the statements apply.
    package let versions: [String: Int]

    private let target: MigrationTarget
    /// The statements that come from files, by their position.
    private let origins: [Int: Origin]
    /// The statement that tells whether the files left the session as it was.
    private let assertion: Int

    private struct Origin: Sendable {
        let source: String
        let version: Int
        let statement: SQLStatement
        let isVerify: Bool
    }

    package init(
        _ sets: [MigrationSet], target: MigrationTarget, serverVersion: Int, lockTimeout: Duration = .seconds(1)
    ) {
        var statements = [MigrationQueries.enter(target, lockTimeout: lockTimeout, serverVersion: serverVersion)]
        // Qualified, so that a missing schema fails here and not in a temporary table.
        statements += MigrationQueries.createHistory(target)
        var origins: [Int: Origin] = [:]
        var applied: [(source: String, migration: Migration)] = []
        var remaining: [Migration] = []
        for set in sets {
            for migration in set.migrations {
                guard migration.isTransactional, remaining.isEmpty else {
                    remaining.append(migration)
                    continue
                }
                applied.append((set.source, migration))
                for (query, isVerify) in migration.up.map({ ($0, false) }) + migration.verify.map({ ($0, true) }) {
                    origins[statements.count] = Origin(
                        source: set.source, version: migration.version, statement: query, isVerify: isVerify)
                    statements.append(MigrationQueries.text(of: query))
                }
            }
        }
        self.assertion = statements.count
        statements.append(SessionIdentity.assertion(target))
        if !applied.isEmpty { statements.append(MigrationQueries.recordTogether(applied, in: target)) }
        statements.append(SessionIdentity.query)
        self.statements = statements
        self.remaining = remaining
        self.versions = Dictionary(applied.map { ($0.source, $0.migration.version) }, uniquingKeysWith: max)
        self.target = target
        self.origins = origins
    }

    /// Looks at the statements' results before the caller commits; throws ``MigrationError/Code/verifyFailed``.
    package func check(_ results: some Collection<PostgresRows>) throws(MigrationError) {
        for (index, result) in results.enumerated() {
            guard let origin = self.origins[index], origin.isVerify, !result.isOneTrue else { continue }
            throw self.error(.verifyFailed, origin, reason: "the verify query isn't true", underlying: nil)
        }
        guard results.reversed().first?.serves(self.target) == true else {
            throw self.sessionChanged
        }
    }

    /// What a failure of the pipeline means; the position is that of the error less what the caller sent before.
    package func error(_ error: PostgresError, at index: Int?) -> MigrationError {
        if index == self.assertion, error.sqlState == SessionIdentity.assertionFailure { return self.sessionChanged }
        return self.error(
            error.migrationCode ?? .failedClean, index.flatMap { self.origins[$0] }, reason: nil, underlying: error)
    }

    private var sessionChanged: MigrationError {
        self.error(
            .sessionChanged, nil, reason: SessionIdentity.advice + "; everything was rolled back", underlying: nil)
    }

    private func error(
        _ code: MigrationError.Code, _ origin: Origin?, reason: String?, underlying: PostgresError?
    ) -> MigrationError {
        MigrationError(
            code, line: origin?.statement.line, schema: self.target.schema, source: origin?.source,
            version: origin?.version, reason: reason, statement: origin?.statement.text, underlying: underlying)
    }
}
