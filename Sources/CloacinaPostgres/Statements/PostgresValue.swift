public import FoundationEssentials

/// One bound value of a statement, in a form that PostgreSQL understands.
///
/// Most code never names a case: interpolate Swift values into a ``PostgresStatement`` and they become binds.
public enum PostgresValue: Sendable, Hashable {
    /// SQL `NULL`; its type is inferred by the server.
    case null
    /// `boolean`.
    case bool(Bool)
    /// `smallint`.
    case int16(Int16)
    /// `integer`.
    case int32(Int32)
    /// `bigint`.
    case int64(Int64)
    /// `double precision`.
    case double(Double)
    /// Text whose type the server infers from where it stands: `text`, `varchar`, `uuid`, `inet`, an enum…
    case text(String)
    /// `bytea`.
    case bytes([UInt8])
    /// `uuid`.
    case uuid(UUID)
    /// `timestamptz`, in microseconds; `Date.distantFuture` and `Date.distantPast` are infinity and minus infinity.
    case timestamp(Date)
    /// `jsonb`, given as JSON text.
    case json(String)
    /// `oid`.
    case oid(UInt32)
    /// `text[]`.
    case textArray([String])
    /// `text[]` with nulls.
    case optionalTextArray([String?])
    /// `boolean[]`.
    case boolArray([Bool])
    /// `integer[]`.
    case int32Array([Int32])
    /// `bigint[]`.
    case int64Array([Int64])
    /// `double precision[]`.
    case doubleArray([Double])
    /// `uuid[]`.
    case uuidArray([UUID])
    /// `timestamptz[]`.
    case timestampArray([Date])
    /// `uuid[]` with nulls.
    case optionalUUIDArray([UUID?])
    /// `timestamptz[]` with nulls.
    case optionalTimestampArray([Date?])
    /// `jsonb[]`, each element given as JSON text.
    case jsonArray([String])
    /// `oid[]`.
    case oidArray([UInt32])
}

/// A Swift value that can stand for a bind.
public protocol PostgresEncodable {
    /// The value as PostgreSQL receives it.
    var postgresValue: PostgresValue { get }
}

extension PostgresValue: PostgresEncodable {
    /// The value itself.
    public var postgresValue: PostgresValue { self }
}

extension Bool: PostgresEncodable {
    /// `boolean`.
    public var postgresValue: PostgresValue { .bool(self) }
}

extension Int: PostgresEncodable {
    /// `bigint`.
    public var postgresValue: PostgresValue { .int64(Int64(self)) }  // can't trap: an Int has 64 bits at most
}

extension Int16: PostgresEncodable {
    /// `smallint`.
    public var postgresValue: PostgresValue { .int16(self) }
}

extension Int32: PostgresEncodable {
    /// `integer`.
    public var postgresValue: PostgresValue { .int32(self) }
}

extension Int64: PostgresEncodable {
    /// `bigint`.
    public var postgresValue: PostgresValue { .int64(self) }
}

extension UInt32: PostgresEncodable {
    /// `oid`.
    public var postgresValue: PostgresValue { .oid(self) }
}

extension Double: PostgresEncodable {
    /// `double precision`.
    public var postgresValue: PostgresValue { .double(self) }
}

extension String: PostgresEncodable {
    /// Text whose type the server infers.
    public var postgresValue: PostgresValue { .text(self) }
}

extension UUID: PostgresEncodable {
    /// `uuid`.
    public var postgresValue: PostgresValue { .uuid(self) }
}

extension Date: PostgresEncodable {
    /// `timestamptz`.
    public var postgresValue: PostgresValue { .timestamp(self) }
}

extension Optional: PostgresEncodable where Wrapped: PostgresEncodable {
    /// The wrapped value, or `NULL`.
    public var postgresValue: PostgresValue { self?.postgresValue ?? .null }
}

/// An element type whose arrays PostgreSQL takes as one bind.
public protocol PostgresArrayEncodable {
    /// The array as one bind.
    static func postgresArray(_ elements: [Self]) -> PostgresValue
}

extension Array: PostgresEncodable where Element: PostgresArrayEncodable {
    /// The array as one bind.
    public var postgresValue: PostgresValue { Element.postgresArray(self) }
}

extension UInt8: PostgresArrayEncodable {
    /// `bytea`.
    public static func postgresArray(_ elements: [UInt8]) -> PostgresValue { .bytes(elements) }
}

extension Bool: PostgresArrayEncodable {
    /// `boolean[]`.
    public static func postgresArray(_ elements: [Bool]) -> PostgresValue { .boolArray(elements) }
}

extension Int: PostgresArrayEncodable {
    /// `bigint[]`.
    public static func postgresArray(_ elements: [Int]) -> PostgresValue {
        .int64Array(elements.map { Int64($0) })  // can't trap: an Int has 64 bits at most
    }
}

extension Int32: PostgresArrayEncodable {
    /// `integer[]`.
    public static func postgresArray(_ elements: [Int32]) -> PostgresValue { .int32Array(elements) }
}

extension Int64: PostgresArrayEncodable {
    /// `bigint[]`.
    public static func postgresArray(_ elements: [Int64]) -> PostgresValue { .int64Array(elements) }
}

extension Double: PostgresArrayEncodable {
    /// `double precision[]`.
    public static func postgresArray(_ elements: [Double]) -> PostgresValue { .doubleArray(elements) }
}

extension String: PostgresArrayEncodable {
    /// `text[]`.
    public static func postgresArray(_ elements: [String]) -> PostgresValue { .textArray(elements) }
}

extension UUID: PostgresArrayEncodable {
    /// `uuid[]`.
    public static func postgresArray(_ elements: [UUID]) -> PostgresValue { .uuidArray(elements) }
}

extension Date: PostgresArrayEncodable {
    /// `timestamptz[]`.
    public static func postgresArray(_ elements: [Date]) -> PostgresValue { .timestampArray(elements) }
}

extension Optional: PostgresArrayEncodable where Wrapped == String {
    /// `text[]` with nulls.
    public static func postgresArray(_ elements: [String?]) -> PostgresValue { .optionalTextArray(elements) }
}
