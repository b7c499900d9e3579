/// The rows that a statement returned, held in the server's binary form and decoded when asked for.
public struct PostgresRows: Sendable, RandomAccessCollection {
    let result: ResultHandle
    /// What is known of types that are not PostgreSQL's own.
    var types: TypeCatalog?

    init(_ result: ResultHandle) { self.result = result }

    /// The position of the first row.
    public var startIndex: Int { 0 }
    /// The position after the last row.
    public var endIndex: Int { self.result.rowCount }
    /// The number of rows that the command inserted, updated, deleted or returned.
    public var affectedRows: Int { self.result.affectedRows }
    /// The names of the columns, in order.
    public var columnNames: [String] { (0..<self.result.columnCount).map(self.result.columnName) }
    /// The server's command tag, such as `INSERT 0 1`.
    public var commandTag: String { self.result.commandTag }

    /// The row at a position.
    public subscript(position: Int) -> PostgresRow {
        precondition(self.indices.contains(position), "row \(position) of \(self.count)")
        return PostgresRow(result: self.result, row: position, types: self.types)
    }

    /// Returns the value of the only row.
    ///
    /// - Parameter column: The column's name; the first column when `nil`.
    /// - Throws: ``PostgresError/Code/unexpectedResult`` when there isn't exactly one row or no such column.
    public func single<T: PostgresDecodable>(
        _ column: String? = nil, as type: T.Type = T.self, fileID: String = #fileID, line: Int = #line
    ) throws(PostgresError) -> T {
        guard self.count == 1 else {
            throw PostgresError(
                .unexpectedResult, advice: "expected one row, got \(self.count)", fileID: fileID, line: line)
        }
        guard let column else { return try self[0].value(at: 0, as: type, fileID: fileID, line: line) }
        return try self[0].value(column, as: type, fileID: fileID, line: line)
    }

    /// Returns one column of every row.
    public func column<T: PostgresDecodable>(
        _ name: String, as type: T.Type = T.self, fileID: String = #fileID, line: Int = #line
    ) throws(PostgresError) -> [T] {
        guard let index = self.result.columnIndex(name) else {
            throw PostgresError(.unexpectedResult, advice: "no column \(name)", fileID: fileID, line: line)
        }
        var values: [T] = []
        values.reserveCapacity(self.count)
        for row in self { values.append(try row.value(at: index, as: type, fileID: fileID, line: line)) }
        return values
    }
}

extension PostgresRows {
    /// Whether the command's effect is gone when its transaction fails, as its tag says; a `CALL` may have committed.
    var isUndoneWithItsTransaction: Bool { self.result.isQueryOrChange }
}

/// One row of a result.
public struct PostgresRow: Sendable {
    let result: ResultHandle
    let row: Int
    var types: TypeCatalog?

    /// Decodes the value of a named column.
    ///
    /// - Throws: ``PostgresError/Code/unexpectedResult`` when there is no such column,
    ///   ``PostgresError/Code/decodingFailed`` when the value is of another type or an unexpected `NULL`.
    public func value<T: PostgresDecodable>(
        _ column: String, as type: T.Type = T.self, fileID: String = #fileID, line: Int = #line
    ) throws(PostgresError) -> T {
        guard let index = self.result.columnIndex(column) else {
            throw PostgresError(.unexpectedResult, advice: "no column \(column)", fileID: fileID, line: line)
        }
        return try self.value(at: index, as: type, fileID: fileID, line: line)
    }

    /// Decodes the value of the column at a position, from 0.
    public func value<T: PostgresDecodable>(
        at index: Int, as type: T.Type = T.self, fileID: String = #fileID, line: Int = #line
    ) throws(PostgresError) -> T {
        guard index >= 0, index < self.result.columnCount else {
            throw PostgresError(.unexpectedResult, advice: "no column at \(index)", fileID: fileID, line: line)
        }
        let cell = PostgresCell(result: self.result, row: self.row, column: index, types: self.types)
        do {
            return try T.decode(cell)
        } catch {
            throw error.at(fileID, line)
        }
    }
}

/// One value of a row, not yet decoded.
public struct PostgresCell: Sendable {
    let result: ResultHandle
    let row: Int
    let column: Int
    var types: TypeCatalog?

    /// The OID of the value's type.
    public var typeOID: UInt32 { self.result.typeOID(self.column) }
    /// Whether the value is SQL `NULL`.
    public var isNull: Bool { self.result.isNull(row: self.row, column: self.column) }
    /// The name of the value's column.
    public var columnName: String { self.result.columnName(self.column) }

    func reader() -> CellReader {
        unsafe self.result.withBytes(row: self.row, column: self.column) { unsafe CellReader(bytes: Array($0)) }
    }

    func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        unsafe self.result.withBytes(row: self.row, column: self.column) { unsafe body($0) }
    }

    /// Names the column, its type and the way out, not the value.
    func mismatch<T>(_ type: T.Type) -> PostgresError {
        guard !self.isNull else {
            return PostgresError(
                .decodingFailed, advice: "column \(self.columnName) holds NULL, not \(T.self); read \(T.self)?")
        }
        let found = "\((self.types ?? TypeCatalog()).name(of: self.typeOID)) (type OID \(self.typeOID))"
        return PostgresError(
            .decodingFailed,
            advice: "column \(self.columnName) holds \(found), which does not read as \(T.self); select it as "
                + "\(self.columnName)::text to have it as a String")
    }
}

/// Reads big-endian values one after the other.
struct CellReader {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { self.position == self.bytes.count }

    mutating func integer<I: FixedWidthInteger>(_ type: I.Type = I.self) -> I? {
        let size = I.bitWidth / 8
        guard size <= self.bytes.count - self.position else { return nil }
        var value: I = 0
        for offset in 0..<size {
            // An Int8 is never read this way, so the shift by 8 is always inside the width.
            value = value << 8 | I(truncatingIfNeeded: self.bytes[self.position + offset])
        }
        self.position += size
        return value
    }

    /// A count or a length, which is -1 for a null.
    mutating func length() -> Int? {
        self.integer(Int32.self).map { Int($0) }  // can't trap: 32 bits fit
    }

    mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
        guard count >= 0, count <= self.bytes.count - self.position else { return nil }
        defer { self.position += count }
        return self.bytes[self.position..<(self.position + count)]
    }
}
