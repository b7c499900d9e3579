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
    func withValues<Result, each Value: SQLiteBindable>(
        _ values: repeat each Value, body: () throws -> Result
    ) throws -> Result {
        // One more than they need, so that what is empty has an address too: none means NULL to SQLite.
        var size = 1
        for value in repeat each values { size += value.boundBytes }
        return try unsafe withUnsafeTemporaryAllocation(byteCount: size, alignment: 1) { buffer in
            defer { self.reset() }
            var scratch = unsafe BoundBytes(buffer)
            var position: Int32 = 0
            for value in repeat each values {
                position += 1
                let code = value.bind(to: self, at: position, &scratch)
                guard code == SQLITE_OK else { throw self.failure(code) }
            }
            return try body()
        }
    }

    private func failure(_ code: Int32) -> DatabaseError {
        DatabaseError(
            resultCode: ResultCode(rawValue: code),
            message: unsafe String(cString: sqlite3_errmsg(sqlite3_db_handle(self.pointer))))
    }

    // MARK: Values; the answers are SQLite's result codes

    fileprivate func bind(_ integer: Int64, at position: Int32) -> Int32 {
        unsafe sqlite3_bind_int64(self.pointer, position, integer)
    }

    /// The bytes must stay where they are until the statement is reset.
    fileprivate func bind(text: UnsafeRawBufferPointer, at position: Int32) -> Int32 {
        unsafe sqlite3_bind_text64(
            self.pointer, position, text.baseAddress?.assumingMemoryBound(to: CChar.self), UInt64(text.count), nil,
            UInt8(SQLITE_UTF8))
    }

    /// The bytes must stay where they are until the statement is reset.
    fileprivate func bind(bytes: UnsafeRawBufferPointer, at position: Int32) -> Int32 {
        unsafe sqlite3_bind_blob64(self.pointer, position, bytes.baseAddress, UInt64(bytes.count), nil)
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
        let count = Int(unsafe sqlite3_column_bytes(self.pointer, column))
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

/// A value that a statement is given.
protocol SQLiteBindable {
    /// How many bytes must be kept while the statement runs.
    var boundBytes: Int { get }
    /// Hands it over; the answer is SQLite's result code.
    func bind(to statement: SQLiteStatement, at position: Int32, _ scratch: inout BoundBytes) -> Int32
}

/// Numbers need none.
extension SQLiteBindable {
    var boundBytes: Int { 0 }
}

extension Int64: SQLiteBindable {
    func bind(to statement: SQLiteStatement, at position: Int32, _ scratch: inout BoundBytes) -> Int32 {
        statement.bind(self, at: position)
    }
}

extension Int: SQLiteBindable {
    func bind(to statement: SQLiteStatement, at position: Int32, _ scratch: inout BoundBytes) -> Int32 {
        statement.bind(Int64(self), at: position)
    }
}

/// All of it, also behind a NUL.
extension String: SQLiteBindable {
    var boundBytes: Int { self.utf8.count }

    func bind(to statement: SQLiteStatement, at position: Int32, _ scratch: inout BoundBytes) -> Int32 {
        var text = self
        return text.withUTF8 { bytes in
            unsafe statement.bind(text: scratch.keep(UnsafeRawBufferPointer(bytes)), at: position)
        }
    }
}

/// As 16 bytes.
extension UUID: SQLiteBindable {
    var boundBytes: Int { MemoryLayout<uuid_t>.size }

    func bind(to statement: SQLiteStatement, at position: Int32, _ scratch: inout BoundBytes) -> Int32 {
        unsafe withUnsafeBytes(of: self.uuid) { bytes in
            unsafe statement.bind(bytes: scratch.keep(bytes), at: position)
        }
    }
}

/// Nothing stays nothing: whatever a statement isn't given is NULL.
extension Optional: SQLiteBindable where Wrapped: SQLiteBindable {
    var boundBytes: Int { self?.boundBytes ?? 0 }

    func bind(to statement: SQLiteStatement, at position: Int32, _ scratch: inout BoundBytes) -> Int32 {
        self?.bind(to: statement, at: position, &scratch) ?? SQLITE_OK
    }
}

extension Database {
    /// Runs a statement that stays prepared.
    func run<each Value: SQLiteBindable>(_ sql: String, _ values: repeat each Value) throws {
        let statement = try SQLiteStatement(sql, in: self)
        try statement.withValues(repeat each values) { while try statement.step() {} }
    }

    /// Hands each row of an answer to a closure, until it says that it has enough.
    func forEach<each Value: SQLiteBindable>(
        _ sql: String, _ values: repeat each Value, body: (inout SQLiteRow) throws -> Bool
    ) throws {
        let statement = try SQLiteStatement(sql, in: self)
        try statement.withValues(repeat each values) {
            while try statement.step() {
                var row = SQLiteRow(statement)
                guard try body(&row) else { return }
            }
        }
    }

    /// All rows of an answer.
    func rows<Result, each Value: SQLiteBindable>(
        _ sql: String, _ values: repeat each Value, read: (inout SQLiteRow) throws -> Result
    ) throws -> [Result] {
        var results: [Result] = []
        try self.forEach(sql, repeat each values) { row in
            results.append(try read(&row))
            return true
        }
        return results
    }
}
