import CloacinaPostgres

/// A schema as the runner found it.
struct SchemaState: Sendable {
    let oid: UInt32
    let hasHistory: Bool
    let history: [MigrationRecord]
}

extension MigrationRunner {
    func state(of target: MigrationTarget) async throws(MigrationError) -> SchemaState {
        let state = try await self.asking(target.schema) { () throws(PostgresError) -> SchemaState? in
            guard let row = try await self.connection.query(MigrationQueries.schema(named: target.schema)).first
            else { return nil }
            let oid = try row.value("oid", as: UInt32.self)
            guard try row.value("has_history") else {
                return SchemaState(oid: oid, hasHistory: false, history: [])
            }
            let results = try await self.connection.pipeline(
                MigrationQueries.takeRole(of: target) + [MigrationQueries.history(target)])
            var history: [MigrationRecord] = []
            for row in results[results.count - 1] { history.append(try MigrationRecord(row)) }
            return SchemaState(oid: oid, hasHistory: true, history: history)
        }
        guard let state else {
            throw MigrationError(.schemaMissing, schema: target.schema, reason: "the schema doesn't exist")
        }
        return state
    }

    func createHistory(_ target: MigrationTarget) async throws(MigrationError) {
        try await self.asking(target.schema) { () throws(PostgresError) in
            _ = try await self.connection.pipeline(
                MigrationQueries.takeRole(of: target) + MigrationQueries.createHistory(target))
        }
    }

    /// Runs statements of our own, whose failure isn't a migration's.
    func asking<R>(
        _ schema: String, _ body: () async throws(PostgresError) -> R
    ) async throws(MigrationError) -> R {
        do throws(PostgresError) {
            return try await body()
        } catch {
            throw MigrationError(error.migrationCode ?? .serverRefused, schema: schema, underlying: error)
        }
    }
}

extension MigrationRecord {
    fileprivate init(_ row: PostgresRow) throws(PostgresError) {
        let state: String = try row.value("state")
        let milliseconds: Int? = try row.value("duration_ms")
        self.init(
            source: try row.value("source"), version: try row.value("version"),
            title: try row.value("title"), canonicalChecksum: try row.value("canonical_checksum"),
            rawChecksum: try row.value("raw_checksum"),
            duration: milliseconds.map { .milliseconds($0) },  // can't trap: a whole number
            appliedBy: try row.value("applied_by"), appliedAt: try row.value("applied_at"),
            // A state of a later version of this library is one we know nothing about.
            state: State(rawValue: state) ?? .failedUnknown, error: try row.value("error"))
    }
}

extension PostgresError {
    /// What the failure means for a migration, unless the server refused a statement.
    var migrationCode: MigrationError.Code? {
        switch self.code {
        case .cancelled, .deadlineExceeded: .cancelled
        case .connectionLost, .connectionClosed, .connectionFailed: .connectionFailed
        default: nil
        }
    }

    /// Whether others held a lock for too long, or a deadlock was broken at our expense.
    var isContention: Bool { ["55P03", "40P01"].contains(self.sqlState) }
}
