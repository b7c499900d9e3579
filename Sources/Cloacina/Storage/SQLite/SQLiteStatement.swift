import FoundationEssentials
import GRDB
import GRDBSQLite

/// A statement that stays prepared, driven without what lies between.
///
/// GRDB keeps connections, their threads, transactions and the statements themselves; its own way of handing over values and
/// rows takes longer than SQLite takes to store them.
@safe struct SQLiteStatement {
    /// Keeps the pointer valid.
    private let owner: Statement
    private let pointer: OpaquePointer

    init(_ sql: String, in database: Database) throws {
        self.owner = try database.cachedStatement(sql: sql)
        unsafe self.pointer = self.owner.sqliteStatement
    }

    // MARK: Running

    /// Whether there is a row, or another one.
    func step() throws -> Bool {
        switch unsafe sqlite3_step(self.pointer) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        case let code: throw self.failure(code)
        }
    }

    /// Makes it ready to run again. What went wrong was said by ``step()``.
    private func reset() {
        _ = unsafe sqlite3_reset(self.pointer)
        _ = unsafe sqlite3_clear_bindings(self.pointer)
    }

    /// Hands over values, does something with the statement, and makes it ready to run again.
    ///
    /// The values' bytes stand on the stack meanwhile: copies that SQLite made would cost it as much as storing them.
    func withValues<Result>(_ values: [SQLiteValue], body: () throws -> Result) throws -> Result {
        // One more than they need, so that what is empty has an address too: none means NULL to SQLite.
        let size = values.reduce(1) { $0 + $1.byteCount }
        return try unsafe withUnsafeTemporaryAllocation(byteCount: size, alignment: 1) { buffer in
            defer { self.reset() }
            var scratch = unsafe BoundBytes(buffer)
            for (index, value) in values.enumerated() {
                let code = self.bind(value, at: Int32(truncatingIfNeeded: index) + 1, &scratch)
                guard code == SQLITE_OK else { throw self.failure(code) }
            }
            return try body()
        }
    }

    /// Runs it to its end.
    func run(_ values: [SQLiteValue]) throws {
        try self.withValues(values) { while try self.step() {} }
    }

    private func failure(_ code: Int32) -> DatabaseError {
        DatabaseError(
            resultCode: ResultCode(rawValue: code),
            message: unsafe String(cString: sqlite3_errmsg(sqlite3_db_handle(self.pointer))))
    }

    /// Hands over one value; the answer is SQLite's result code. The bytes stay where they are until the statement is reset.
    private func bind(_ value: SQLiteValue, at position: Int32, _ scratch: inout BoundBytes) -> Int32 {
        switch value.content {
        case .null: SQLITE_OK
        case .integer(let integer): unsafe sqlite3_bind_int64(self.pointer, position, integer)
        case .text(var text):
            text.withUTF8 { bytes in
                let kept = unsafe scratch.keep(UnsafeRawBufferPointer(bytes))
                return unsafe sqlite3_bind_text64(
                    self.pointer, position, kept.baseAddress?.assumingMemoryBound(to: CChar.self),
                    UInt64(clamping: kept.count),
                    nil, UInt8(truncatingIfNeeded: SQLITE_UTF8))
            }
        case .uuid(let id):
            unsafe withUnsafeBytes(of: id.uuid) { bytes in
                let kept = unsafe scratch.keep(bytes)
                return unsafe sqlite3_bind_blob64(
                    self.pointer, position, kept.baseAddress, UInt64(clamping: kept.count), nil)
            }
        }
    }

    // MARK: Columns of the row that ``step()`` came to; nil where one holds another type

    func isNull(_ column: Int32) -> Bool { unsafe sqlite3_column_type(self.pointer, column) == SQLITE_NULL }

    func integer(_ column: Int32) -> Int64? {
        guard unsafe sqlite3_column_type(self.pointer, column) == SQLITE_INTEGER else { return nil }
        return unsafe sqlite3_column_int64(self.pointer, column)
    }

    /// What isn't UTF-8 in it is replaced.
    func text(_ column: Int32) -> String? {
        guard unsafe sqlite3_column_type(self.pointer, column) == SQLITE_TEXT,
            let start = unsafe sqlite3_column_text(self.pointer, column)
        else { return nil }
        let count = Int(truncatingIfNeeded: unsafe sqlite3_column_bytes(self.pointer, column))
        return unsafe String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    }

    func uuid(_ column: Int32) -> UUID? {
        guard unsafe sqlite3_column_type(self.pointer, column) == SQLITE_BLOB,
            unsafe sqlite3_column_bytes(self.pointer, column) == MemoryLayout<uuid_t>.size,
            let start = unsafe sqlite3_column_blob(self.pointer, column)
        else { return nil }
        return unsafe UUID(uuid: start.loadUnaligned(as: uuid_t.self))
    }
}

/// Where the bytes of a statement's values stand while it runs.
@safe struct BoundBytes {
    private var free: UnsafeMutableRawBufferPointer

    init(_ buffer: UnsafeMutableRawBufferPointer) { unsafe self.free = buffer }

    /// Copies bytes to where they can stay.
    fileprivate mutating func keep(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        unsafe self.free.copyMemory(from: bytes)
        let kept = unsafe UnsafeRawBufferPointer(rebasing: self.free[..<bytes.count])
        unsafe self.free = UnsafeMutableRawBufferPointer(rebasing: self.free[bytes.count...])
        return unsafe kept
    }
}

/// A value that a statement is given. Nothing stays nothing: whatever a statement isn't given is NULL.
struct SQLiteValue {
    fileprivate enum Content {
        case null
        case integer(Int64)
        case text(String)
        case uuid(UUID)
    }
    fileprivate let content: Content

    static func integer(_ value: Int64?) -> Self { Self(content: value.map { .integer($0) } ?? .null) }

    static func integer(_ value: Int) -> Self { Self(content: .integer(Int64(clamping: value))) }

    /// All of it, also behind a NUL.
    static func text(_ value: String?) -> Self { Self(content: value.map { .text($0) } ?? .null) }

    /// As 16 bytes.
    static func uuid(_ value: UUID?) -> Self { Self(content: value.map { .uuid($0) } ?? .null) }

    /// As microseconds since 1970.
    static func time(_ value: Date?) -> Self { .integer(value?.sqliteMicroseconds) }

    /// How many bytes must be kept while the statement runs.
    fileprivate var byteCount: Int {
        switch self.content {
        case .null, .integer: 0
        case .text(let text): text.utf8.count
        case .uuid: MemoryLayout<uuid_t>.size
        }
    }
}

extension Database {
    /// Runs a statement that stays prepared.
    func run(_ sql: String, _ values: [SQLiteValue]) throws { try SQLiteStatement(sql, in: self).run(values) }

    /// Hands each row of an answer to a closure, until it says that it has enough.
    func forEach(_ sql: String, _ values: [SQLiteValue] = [], body: (inout SQLiteRow) throws -> Bool) throws {
        let statement = try SQLiteStatement(sql, in: self)
        try statement.withValues(values) {
            while try statement.step() {
                var row = SQLiteRow(statement)
                guard try body(&row) else { return }
            }
        }
    }

    /// All rows of an answer.
    func rows<Result>(
        _ sql: String, _ values: [SQLiteValue] = [], read: (inout SQLiteRow) throws -> Result
    ) throws -> [Result] {
        var results: [Result] = []
        try self.forEach(sql, values) { row in
            results.append(try read(&row))
            return true
        }
        return results
    }
}
