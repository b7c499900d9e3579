import FoundationEssentials
import GRDB

/// Reads a row's columns from left to right. What isn't as this library writes it throws.
struct SQLiteRow {
    private let row: Row
    private var column = 0

    init(_ row: Row) { self.row = row }

    private mutating func next() -> DatabaseValue {
        defer { self.column += 1 }
        return self.row[self.column]
    }

    mutating func optional<Value: DatabaseValueConvertible>(_ type: Value.Type = Value.self) throws -> Value? {
        let value = self.next()
        if value.isNull { return nil }
        guard let known = Value.fromDatabaseValue(value) else {
            throw SQLiteError(.corrupt, "a column holds no \(type)")
        }
        return known
    }

    mutating func value<Value: DatabaseValueConvertible>(_ type: Value.Type = Value.self) throws -> Value {
        guard let value = try self.optional(type) else { throw SQLiteError(.corrupt, "a column holds no \(type)") }
        return value
    }

    /// Text that was selected as bytes.
    mutating func text() throws -> String { String(decoding: try self.value(Data.self), as: UTF8.self) }

    mutating func optionalText() throws -> String? {
        try self.optional(Data.self).map { String(decoding: $0, as: UTF8.self) }
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

extension StoredPipeline {
    /// Reads ``SQLiteQueries/load``'s columns; the history stays empty.
    init(_ row: inout SQLiteRow) throws {
        let (id, workflow, version): (UUID, String, String) = (try row.value(), try row.text(), try row.text())
        let startedAt = try row.optionalDate()
        self.init(
            id: id, workflow: workflow, version: version, status: try row.known(PipelineStatus.init(rawValue:)),
            revision: try row.value(), epoch: try row.value(), owner: try row.optional(), recoveries: try row.value(),
            priority: try row.value(), timeout: try row.optional(Int64.self).map { .milliseconds($0) },
            input: try Context(parsing: row.value(), byteLimit: .max), createdAt: try row.date(), startedAt: startedAt,
            endedAt: try row.optionalDate(), dueAt: try row.optionalDate(),
            request: try row.optional(String.self).flatMap { PipelineRequest(rawValue: $0) },
            idempotencyKey: try row.optionalText(), events: [])
    }
}

extension PipelineEvent {
    /// Reads ``SQLiteQueries/history``'s columns.
    init(_ row: inout SQLiteRow) throws {
        self.init(
            try row.known(Kind.init(rawValue:)), task: try row.optionalText(), attempt: try row.value(),
            worker: try row.optional(), startedAt: try row.optionalDate(), at: try row.date(),
            detail: try row.optionalText())
        let delta: String? = try row.optional()
        // Most tasks change nothing, which takes no room.
        self.delta =
            try delta.map { try ContextDelta(parsing: $0) } ?? (self.kind == .taskCompleted ? ContextDelta() : nil)
        self.dueAt = try row.optionalDate()
    }
}

extension PipelineSummary {
    /// Reads ``SQLiteQueries/list``'s columns.
    init(_ row: inout SQLiteRow) throws {
        self.init(
            id: try row.value(), workflow: try row.text(), version: try row.text(),
            status: try row.known(PipelineStatus.init(rawValue:)), createdAt: try row.date(),
            startedAt: try row.optionalDate(), endedAt: try row.optionalDate(), recoveries: try row.value())
    }
}

extension Date {
    /// Microseconds since 1970, rounded to the nearest; the ends of the range for times beyond it.
    var sqliteMicroseconds: Int64 {
        let seconds = self.timeIntervalSince1970
        let whole = seconds.rounded(.down)
        guard abs(whole) < 9_000_000_000_000 else { return seconds < 0 ? .min : .max }
        return Int64(whole) * 1_000_000 + Int64(((seconds - whole) * 1_000_000).rounded())
    }

    init(sqliteMicroseconds micros: Int64) {
        let (seconds, rest) = micros.quotientAndRemainder(dividingBy: 1_000_000)
        self.init(timeIntervalSince1970: Double(seconds) + Double(rest) / 1_000_000)
    }
}

extension String {
    /// The text as SQL is given it: as bytes where it has a NUL, at which the library below would end it.
    var sqliteText: SQLiteBind { self.utf8.contains(0) ? Data(self.utf8) : self }
}
