import FoundationEssentials

/// Reads a row's columns from left to right. What isn't as this library writes it throws.
struct SQLiteRow {
    private let statement: SQLiteStatement
    private var column: Int32 = 0

    init(_ statement: SQLiteStatement) { self.statement = statement }

    mutating func optional<Value: SQLiteColumn>(_ type: Value.Type = Value.self) throws -> Value? {
        defer { self.column += 1 }
        if let value = Value(self.statement, self.column) { return value }
        guard self.statement.isNull(self.column) else { throw SQLiteError(.corrupt, "a column holds no \(type)") }
        return nil
    }

    mutating func value<Value: SQLiteColumn>(_ type: Value.Type = Value.self) throws -> Value {
        guard let value = try self.optional(type) else { throw SQLiteError(.corrupt, "a column holds no \(type)") }
        return value
    }

    mutating func date() throws -> Date { Date(sqliteMicroseconds: try self.value()) }

    mutating func optionalDate() throws -> Date? { try self.optional().map { Date(sqliteMicroseconds: $0) } }

    /// One of the words that this library writes.
    mutating func known<State>(_ state: (String) -> State?) throws -> State {
        let text: String = try self.value()
        guard let state = state(text) else {
            throw SQLiteError(.corrupt, "a newer version of this library wrote the state \"\(text)\"")
        }
        return state
    }
}

/// A type that a column may hold.
protocol SQLiteColumn {
    /// Nil when the column holds something else.
    init?(_ statement: SQLiteStatement, _ column: Int32)
}

extension Int64: SQLiteColumn {
    init?(_ statement: SQLiteStatement, _ column: Int32) {
        guard let value = statement.integer(column) else { return nil }
        self = value
    }
}

extension Int: SQLiteColumn {
    init?(_ statement: SQLiteStatement, _ column: Int32) {
        guard let value = statement.integer(column) else { return nil }
        self.init(exactly: value)
    }
}

extension String: SQLiteColumn {
    init?(_ statement: SQLiteStatement, _ column: Int32) {
        guard let value = statement.text(column) else { return nil }
        self = value
    }
}

extension UUID: SQLiteColumn {
    init?(_ statement: SQLiteStatement, _ column: Int32) {
        guard let value = statement.uuid(column) else { return nil }
        self = value
    }
}

extension StoredPipeline {
    /// Reads ``SQLiteQueries/load``'s columns; the history stays empty.
    init(_ row: inout SQLiteRow) throws {
        let (id, workflow, version): (UUID, String, String) = (try row.value(), try row.value(), try row.value())
        let startedAt = try row.optionalDate()
        self.init(
            id: id, workflow: workflow, version: version, status: try row.known(PipelineStatus.init(rawValue:)),
            revision: try row.value(), epoch: try row.value(), owner: try row.optional(), recoveries: try row.value(),
            // can't trap: an integer
            priority: try row.value(), timeout: try row.optional(Int64.self).map { .milliseconds($0) },
            input: try Context(parsing: row.value(), byteLimit: .max), createdAt: try row.date(), startedAt: startedAt,
            endedAt: try row.optionalDate(), dueAt: try row.optionalDate(),
            request: try row.optional(String.self).flatMap { PipelineRequest(rawValue: $0) },
            idempotencyKey: try row.optional(), events: [])
        self.parent = try row.optional()
        self.depth = try row.value()
    }
}

extension PipelineEvent {
    /// Reads ``SQLiteQueries/history``'s columns.
    init(_ row: inout SQLiteRow) throws {
        self.init(
            Kind(rawValue: try row.value()), task: try row.optional(), attempt: try row.value(),
            worker: try row.optional(), startedAt: try row.optionalDate(), at: try row.date(),
            reason: try row.optional(String.self).map { Reason(rawValue: $0) }, detail: try row.optional())
        let delta: String? = try row.optional()
        // Most tasks change nothing, which takes no room.
        self.delta =
            try delta.map { try ContextDelta(parsing: $0) } ?? (self.kind == .taskCompleted ? ContextDelta() : nil)
        self.dueAt = try row.optionalDate()
    }
}

extension RecordedEvent {
    /// Reads ``SQLiteQueries/events``'s columns.
    init(_ row: inout SQLiteRow) throws {
        let cursor = EventCursor(pipeline: try row.value(), revision: try row.value(), position: try row.value())
        let event: PipelineEvent
        // One bad row is one bad line.
        do { event = try PipelineEvent(&row) } catch { event = PipelineEvent(unreadable: error, at: .distantPast) }
        self.init(event, at: cursor)
    }
}

extension PipelineSummary {
    /// Reads ``SQLiteQueries/list``'s columns.
    init(_ row: inout SQLiteRow) throws {
        self.init(
            id: try row.value(), workflow: try row.value(), version: try row.value(),
            status: PipelineStatus(rawValue: try row.value()) ?? .unknown, createdAt: try row.date(),
            startedAt: try row.optionalDate(), endedAt: try row.optionalDate(), recoveries: try row.value())
    }
}

extension Date {
    /// Microseconds since 1970, rounded to the nearest; the ends of the range for times beyond it.
    var sqliteMicroseconds: Int64 {
        let seconds = self.timeIntervalSince1970
        let whole = seconds.rounded(.down)
        guard abs(whole) < 9_000_000_000_000 else { return seconds < 0 ? .min : .max }
        return Int64(whole) * 1_000_000 + Int64(((seconds - whole) * 1_000_000).rounded())  // can't trap: bounded above
    }

    init(sqliteMicroseconds micros: Int64) {
        let (seconds, rest) = micros.quotientAndRemainder(dividingBy: 1_000_000)
        self.init(timeIntervalSince1970: Double(seconds) + Double(rest) / 1_000_000)
    }
}
