public import FoundationEssentials

/// A Swift type that a value of a result can be read as.
public protocol PostgresDecodable {
    /// Reads a value.
    ///
    /// - Throws: ``PostgresError/Code/decodingFailed`` when the value has another type or is `NULL`.
    static func decode(_ cell: PostgresCell) throws(PostgresError) -> Self
}

extension Optional: PostgresDecodable where Wrapped: PostgresDecodable {
    /// Reads a value, or `nil` for `NULL`.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Wrapped? {
        if cell.isNull { return nil }
        return try Wrapped.decode(cell)
    }
}

extension PostgresCell {
    /// The integer in the cell, whatever its width.
    fileprivate func wideInteger() -> Int64? {
        guard !self.isNull else { return nil }
        switch self.typeOID {
        case TypeOID.int8, TypeOID.int4, TypeOID.int2:
            return unsafe self.withBytes { bytes in
                guard let first = unsafe bytes.first else { return nil }
                return unsafe bytes.reduce(first >= 0x80 ? -1 : 0) { $0 << 8 | Int64($1) }
            }
        case TypeOID.oid:
            return unsafe self.withBytes { bytes in unsafe bytes.reduce(Int64(0)) { $0 << 8 | Int64($1) } }
        default: return nil
        }
    }

    fileprivate func integer<I: FixedWidthInteger>(_ type: I.Type) throws(PostgresError) -> I {
        guard let wide = self.wideInteger(), let value = I(exactly: wide) else { throw self.mismatch(type) }
        return value
    }

    /// The elements of a one-dimensional array in binary form.
    fileprivate func elements(_ types: Set<UInt32>) -> [ArraySlice<UInt8>?]? {
        guard !self.isNull else { return nil }
        var reader = self.reader()
        guard let dimensions = reader.integer(Int32.self), (0...1).contains(dimensions),
            reader.integer(Int32.self) != nil,
            let type = reader.integer(UInt32.self), types.contains(type)
        else { return nil }
        if dimensions == 0 { return [] }
        guard let count = reader.integer(Int32.self), reader.integer(Int32.self) != nil,
            (0...reader.bytes.count / 4).contains(Int(count))
        else { return nil }
        var elements: [ArraySlice<UInt8>?] = []
        elements.reserveCapacity(Int(count))
        for _ in 0..<count {
            guard let length = reader.integer(Int32.self) else { return nil }
            if length < 0 {
                elements.append(nil)
            } else {
                guard let bytes = reader.take(Int(length)) else { return nil }
                elements.append(bytes)
            }
        }
        return elements
    }
}

private let textTypes: Set<UInt32> = [
    TypeOID.text, TypeOID.varchar, TypeOID.name, TypeOID.bpchar, TypeOID.json, TypeOID.unknown, TypeOID.char,
]

extension String: PostgresDecodable {
    /// Reads `text`, `varchar`, `name`, `char`, `json` and `jsonb`.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> String {
        let type = cell.typeOID
        guard !cell.isNull, type == TypeOID.jsonb || textTypes.contains(type) else { throw cell.mismatch(String.self) }
        let skipped = type == TypeOID.jsonb ? 1 : 0
        return unsafe cell.withBytes { bytes in unsafe String(decoding: bytes.dropFirst(skipped), as: UTF8.self) }
    }
}

extension Bool: PostgresDecodable {
    /// Reads `boolean`.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Bool {
        guard !cell.isNull, cell.typeOID == TypeOID.bool else { throw cell.mismatch(Bool.self) }
        return unsafe cell.withBytes { bytes in unsafe bytes.first == 1 }
    }
}

extension Int: PostgresDecodable {
    /// Reads `smallint`, `integer`, `bigint` and `oid`.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Int { try cell.integer(Int.self) }
}

extension Int16: PostgresDecodable {
    /// Reads an integer that fits.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Int16 { try cell.integer(Int16.self) }
}

extension Int32: PostgresDecodable {
    /// Reads an integer that fits.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Int32 { try cell.integer(Int32.self) }
}

extension Int64: PostgresDecodable {
    /// Reads `smallint`, `integer`, `bigint` and `oid`.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Int64 { try cell.integer(Int64.self) }
}

extension UInt32: PostgresDecodable {
    /// Reads `oid`, and an integer that fits.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> UInt32 { try cell.integer(UInt32.self) }
}

extension Double: PostgresDecodable {
    /// Reads `double precision` and `real`.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Double {
        guard !cell.isNull else { throw cell.mismatch(Double.self) }
        var reader = cell.reader()
        switch cell.typeOID {
        case TypeOID.float8:
            guard let bits = reader.integer(UInt64.self) else { throw cell.mismatch(Double.self) }
            return Double(bitPattern: bits)
        case TypeOID.float4:
            guard let bits = reader.integer(UInt32.self) else { throw cell.mismatch(Double.self) }
            return Double(Float(bitPattern: bits))
        default: throw cell.mismatch(Double.self)
        }
    }
}

extension UUID: PostgresDecodable {
    /// Reads `uuid`.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> UUID {
        guard !cell.isNull, cell.typeOID == TypeOID.uuid,
            let uuid = unsafe cell.withBytes({ bytes in unsafe UUID(postgresBytes: bytes) })
        else { throw cell.mismatch(UUID.self) }
        return uuid
    }
}

extension UUID {
    fileprivate init?(postgresBytes b: some RandomAccessCollection<UInt8>) {
        guard b.count == 16 else { return nil }
        let b = Array(b)
        self.init(
            uuid: (
                b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]
            ))
    }
}

extension Date: PostgresDecodable {
    /// Reads `timestamptz`; infinity becomes `Date.distantFuture`, minus infinity `Date.distantPast`.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Date {
        guard !cell.isNull, cell.typeOID == TypeOID.timestamptz else { throw cell.mismatch(Date.self) }
        var reader = cell.reader()
        guard let micros = reader.integer(Int64.self) else { throw cell.mismatch(Date.self) }
        return Date(postgresMicroseconds: micros)
    }
}

/// An element type whose PostgreSQL arrays can be read.
public protocol PostgresArrayDecodable {
    /// Reads an array value.
    static func decodeArray(_ cell: PostgresCell) throws(PostgresError) -> [Self]
}

extension Array: PostgresDecodable where Element: PostgresArrayDecodable {
    /// Reads an array.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> [Element] {
        try Element.decodeArray(cell)
    }
}

extension PostgresCell {
    fileprivate func array<T>(
        of types: Set<UInt32>, _ element: (ArraySlice<UInt8>?) -> T?
    ) throws(PostgresError) -> [T] {
        guard let elements = self.elements(types) else { throw self.mismatch([T].self) }
        var values: [T] = []
        values.reserveCapacity(elements.count)
        for bytes in elements {
            guard let value = element(bytes) else { throw self.mismatch([T].self) }
            values.append(value)
        }
        return values
    }

    fileprivate func integers<I: FixedWidthInteger>(_ type: I.Type) throws(PostgresError) -> [I] {
        try self.array(of: [TypeOID.int8, TypeOID.int4, TypeOID.int2]) { bytes -> I? in
            guard let bytes, let first = bytes.first else { return nil }
            let wide = bytes.reduce(first >= 0x80 ? Int64(-1) : 0) { $0 << 8 | Int64($1) }
            return I(exactly: wide)
        }
    }
}

extension UInt8: PostgresArrayDecodable {
    /// Reads `bytea`.
    public static func decodeArray(_ cell: PostgresCell) throws(PostgresError) -> [UInt8] {
        guard !cell.isNull, cell.typeOID == TypeOID.bytea else { throw cell.mismatch([UInt8].self) }
        return cell.reader().bytes
    }
}

extension String: PostgresArrayDecodable {
    /// Reads `text[]`, `varchar[]` and `name[]` without nulls.
    public static func decodeArray(_ cell: PostgresCell) throws(PostgresError) -> [String] {
        try cell.array(of: textTypes) { bytes in bytes.map { String(decoding: $0, as: UTF8.self) } }
    }
}

extension Optional: PostgresArrayDecodable where Wrapped == String {
    /// Reads `text[]`, `varchar[]` and `name[]`, nulls included.
    public static func decodeArray(_ cell: PostgresCell) throws(PostgresError) -> [String?] {
        try cell.array(of: textTypes) { bytes -> String?? in
            .some(bytes.map { String(decoding: $0, as: UTF8.self) })
        }
    }
}

extension Int: PostgresArrayDecodable {
    /// Reads an array of integers without nulls.
    public static func decodeArray(_ cell: PostgresCell) throws(PostgresError) -> [Int] { try cell.integers(Int.self) }
}

extension Int32: PostgresArrayDecodable {
    /// Reads an array of integers that fit, without nulls.
    public static func decodeArray(_ cell: PostgresCell) throws(PostgresError) -> [Int32] {
        try cell.integers(Int32.self)
    }
}

extension Int64: PostgresArrayDecodable {
    /// Reads an array of integers without nulls.
    public static func decodeArray(_ cell: PostgresCell) throws(PostgresError) -> [Int64] {
        try cell.integers(Int64.self)
    }
}

extension Bool: PostgresArrayDecodable {
    /// Reads `boolean[]` without nulls.
    public static func decodeArray(_ cell: PostgresCell) throws(PostgresError) -> [Bool] {
        try cell.array(of: [TypeOID.bool]) { bytes in bytes?.first.map { $0 == 1 } }
    }
}

extension UUID: PostgresArrayDecodable {
    /// Reads `uuid[]` without nulls.
    public static func decodeArray(_ cell: PostgresCell) throws(PostgresError) -> [UUID] {
        try cell.array(of: [TypeOID.uuid]) { bytes in bytes.flatMap { UUID(postgresBytes: $0) } }
    }
}
