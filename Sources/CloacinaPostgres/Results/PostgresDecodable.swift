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
                return unsafe bytes.reduce(first >= 0x80 ? -1 : 0) { $0 << 8 | Int64($1) }  // can't trap: a byte fits
            }
        case TypeOID.oid:
            // can't trap: a byte fits
            return unsafe self.withBytes { bytes in unsafe bytes.reduce(Int64(0)) { $0 << 8 | Int64($1) } }
        case TypeOID.numeric: return NumericText.integer(self.reader().bytes[...])
        default: return nil
        }
    }

    fileprivate func integer<I: FixedWidthInteger>(_ type: I.Type) throws(PostgresError) -> I {
        guard let wide = self.wideInteger(), let value = I(exactly: wide) else { throw self.mismatch(type) }
        return value
    }

    /// The elements of a one-dimensional array in binary form, and their type.
    fileprivate func elements(_ accepts: (UInt32) -> Bool) -> (type: UInt32, values: [ArraySlice<UInt8>?])? {
        guard !self.isNull else { return nil }
        var reader = self.reader()
        guard let dimensions = reader.integer(Int32.self), (0...1).contains(dimensions),
            reader.integer(Int32.self) != nil,
            let type = reader.integer(UInt32.self), accepts(type)
        else { return nil }
        if dimensions == 0 { return (type, []) }
        guard let count = reader.length(), reader.integer(Int32.self) != nil,
            (0...reader.bytes.count / 4).contains(count)
        else { return nil }
        var elements: [ArraySlice<UInt8>?] = []
        elements.reserveCapacity(count)
        for _ in 0..<count {
            guard let length = reader.length() else { return nil }
            if length < 0 {
                elements.append(nil)
            } else {
                guard let bytes = reader.take(length) else { return nil }
                elements.append(bytes)
            }
        }
        return (type, elements)
    }
}

extension String: PostgresDecodable {
    /// Reads text of every kind (`text`, `varchar`, `name`, `char`, `json`, `jsonb`, `xml`, enums, `citext`), and as
    /// PostgreSQL writes them `numeric`, `date`, `time`, `timestamp` and `timestamptz` (ISO style, in UTC) and
    /// `interval` (ISO 8601).
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> String {
        guard !cell.isNull else { throw cell.mismatch(String.self) }
        let type = cell.typeOID
        if BinaryText.textTypes.contains(type) {
            return unsafe cell.withBytes { bytes in unsafe String(decoding: bytes, as: UTF8.self) }
        }
        guard let text = BinaryText.text(cell.reader().bytes[...], type: type, types: cell.types) else {
            throw cell.mismatch(String.self)
        }
        return text
    }
}

extension Decimal: PostgresDecodable {
    /// Reads `numeric` and integers, exactly: up to 38 digits, or `Decimal.nan`.
    ///
    /// `double precision` is none of them. A comparison with a literal such as `2.5` asks for a `Decimal`, so say
    /// `as: Double.self` there.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Decimal {
        if cell.typeOID != TypeOID.numeric, let integer = cell.wideInteger() { return Decimal(integer) }
        guard !cell.isNull, cell.typeOID == TypeOID.numeric,
            let value = Decimal(postgresNumeric: cell.reader().bytes[...])
        else { throw cell.mismatch(Decimal.self) }
        return value
    }
}

extension Decimal {
    /// The number, if a `Decimal` holds it exactly: a mantissa of 38 digits and an exponent of a byte.
    fileprivate init?(postgresNumeric bytes: ArraySlice<UInt8>) {
        guard let text = NumericText.text(bytes) else { return nil }
        guard !text.hasSuffix("Infinity") else { return nil }
        let (digits, exponent) = NumericText.significand(of: text)
        guard !digits.isEmpty else {
            self = text.allSatisfy { !$0.isLetter } ? 0 : .nan
            return
        }
        guard digits.utf8.count <= 38, (-100...80).contains(exponent), let significand = Decimal(string: digits) else {
            return nil
        }
        self.init(sign: text.hasPrefix("-") ? .minus : .plus, exponent: exponent, significand: significand)
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
    /// Reads `smallint`, `integer`, `bigint`, `oid`, and a `numeric` that is an integer, such as the sum of a `bigint`
    /// column.
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
    /// Reads `smallint`, `integer`, `bigint`, `oid`, and a `numeric` that is an integer.
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
            let uuid = unsafe cell.withBytes({ bytes in
                bytes.count == 16 ? UUID(uuid: unsafe bytes.loadUnaligned(as: uuid_t.self)) : nil
            })
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
    /// Reads `timestamptz`, and `timestamp` and `date` (its midnight) taken for UTC; infinity becomes
    /// `Date.distantFuture`, minus infinity `Date.distantPast`.
    public static func decode(_ cell: PostgresCell) throws(PostgresError) -> Date {
        guard !cell.isNull, let date = cell.date() else { throw cell.mismatch(Date.self) }
        return date
    }
}

extension PostgresCell {
    fileprivate func date() -> Date? {
        guard self.typeOID == TypeOID.timestamptz else {
            return Date(postgresBytes: self.reader().bytes[...], type: self.typeOID)
        }
        // Histories are full of them.
        return unsafe self.withBytes { bytes in
            guard bytes.count == 8 else { return nil }
            return Date(postgresMicroseconds: Int64(bigEndian: unsafe bytes.loadUnaligned(as: Int64.self)))
        }
    }
}

extension Date {
    fileprivate init?(postgresBytes bytes: ArraySlice<UInt8>, type: UInt32) {
        var reader = CellReader(bytes: Array(bytes))
        switch type {
        case TypeOID.timestamptz, TypeOID.timestamp:
            guard let micros = reader.integer(Int64.self) else { return nil }
            self.init(postgresMicroseconds: micros)
        case TypeOID.date:
            guard let days = reader.integer(Int32.self) else { return nil }
            switch days {
            case .max: self = .distantFuture
            case .min: self = .distantPast
            default: self.init(postgresDays: days)
            }
        default: return nil
        }
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
        try self.array(where: { types.contains($0) }) { bytes, _ in element(bytes) }
    }

    fileprivate func array<T>(
        where accepts: (UInt32) -> Bool, _ element: (ArraySlice<UInt8>?, UInt32) -> T?
    ) throws(PostgresError) -> [T] {
        guard let elements = self.elements(accepts) else { throw self.mismatch([T].self) }
        var values: [T] = []
        values.reserveCapacity(elements.values.count)
        for bytes in elements.values {
            guard let value = element(bytes, elements.type) else { throw self.mismatch([T].self) }
            values.append(value)
        }
        return values
    }

    /// The elements of an array of anything that reads as text.
    fileprivate func texts<T>(_ element: (String?) -> T?) throws(PostgresError) -> [T] {
        let types = self.types
        return try self.array(where: { BinaryText.isReadable($0, types: types) }) { bytes, type -> T? in
            guard let bytes else { return element(nil) }
            return BinaryText.text(bytes, type: type, types: types).flatMap { element($0) }
        }
    }

    fileprivate func integers<I: FixedWidthInteger>(_ type: I.Type) throws(PostgresError) -> [I] {
        try self.array(of: [TypeOID.int8, TypeOID.int4, TypeOID.int2]) { bytes -> I? in
            guard let bytes, let first = bytes.first else { return nil }
            let wide = bytes.reduce(first >= 0x80 ? Int64(-1) : 0) { $0 << 8 | Int64($1) }  // can't trap: a byte fits
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
    /// Reads an array of whatever reads as a `String`, without nulls.
    public static func decodeArray(_ cell: PostgresCell) throws(PostgresError) -> [String] {
        try cell.texts { $0 }
    }
}

extension Optional: PostgresArrayDecodable where Wrapped == String {
    /// Reads an array of whatever reads as a `String`, nulls included.
    public static func decodeArray(_ cell: PostgresCell) throws(PostgresError) -> [String?] {
        try cell.texts { .some($0) }
    }
}

extension Decimal: PostgresArrayDecodable {
    /// Reads `numeric[]` without nulls.
    public static func decodeArray(_ cell: PostgresCell) throws(PostgresError) -> [Decimal] {
        try cell.array(of: [TypeOID.numeric]) { bytes in bytes.flatMap { Decimal(postgresNumeric: $0) } }
    }
}

extension Date: PostgresArrayDecodable {
    /// Reads an array of `timestamptz`, `timestamp` or `date` without nulls, as ``decode(_:)`` does.
    public static func decodeArray(_ cell: PostgresCell) throws(PostgresError) -> [Date] {
        try cell.array(where: { [TypeOID.timestamptz, TypeOID.timestamp, TypeOID.date].contains($0) }) { bytes, type in
            bytes.flatMap { Date(postgresBytes: $0, type: type) }
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
