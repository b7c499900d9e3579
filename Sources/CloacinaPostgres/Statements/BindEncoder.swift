import FoundationEssentials

/// Object identifiers of PostgreSQL's built-in types, from `pg_type.dat`.
enum TypeOID {
    static let bool: UInt32 = 16
    static let bytea: UInt32 = 17
    static let char: UInt32 = 18
    static let name: UInt32 = 19
    static let int8: UInt32 = 20
    static let int2: UInt32 = 21
    static let int4: UInt32 = 23
    static let text: UInt32 = 25
    static let oid: UInt32 = 26
    static let json: UInt32 = 114
    static let xml: UInt32 = 142
    static let float4: UInt32 = 700
    static let float8: UInt32 = 701
    static let unknown: UInt32 = 705
    static let boolArray: UInt32 = 1000
    static let int4Array: UInt32 = 1007
    static let textArray: UInt32 = 1009
    static let bpchar: UInt32 = 1042
    static let varchar: UInt32 = 1043
    static let date: UInt32 = 1082
    static let time: UInt32 = 1083
    static let timestamp: UInt32 = 1114
    static let timestamptz: UInt32 = 1184
    static let int8Array: UInt32 = 1016
    static let float8Array: UInt32 = 1022
    static let oidArray: UInt32 = 1028
    static let timestamptzArray: UInt32 = 1185
    static let interval: UInt32 = 1186
    static let timetz: UInt32 = 1266
    static let numeric: UInt32 = 1700
    static let refcursor: UInt32 = 1790
    static let cstring: UInt32 = 2275
    static let uuid: UInt32 = 2950
    static let uuidArray: UInt32 = 2951
    static let jsonb: UInt32 = 3802
    static let jsonbArray: UInt32 = 3807
    /// From here on types are extensions' and the application's own.
    static let firstOfOthers: UInt32 = 16_384
}

/// Seconds from Foundation's reference date (2001-01-01) back to PostgreSQL's epoch (2000-01-01).
private let secondsFromPostgresEpochToReferenceDate: Int64 = 366 * 86_400

extension Date {
    /// Microseconds since PostgreSQL's epoch, rounded to the nearest.
    var postgresMicroseconds: Int64 {
        // What infinity is read as goes back as infinity.
        if self == .distantFuture { return .max }
        if self == .distantPast { return .min }
        let seconds = self.timeIntervalSinceReferenceDate
        let whole = seconds.rounded(.down)
        guard let wholeSeconds = Int64(exactly: whole), wholeSeconds.magnitude < 9_000_000_000_000 else {
            return seconds < 0 ? Int64.min : Int64.max  // -infinity, infinity
        }
        // can't trap: a part of a second, so a million at most
        let micros = Int64(((seconds - whole) * 1_000_000).rounded())
        return (wholeSeconds + secondsFromPostgresEpochToReferenceDate) * 1_000_000 + micros
    }

    /// The midnight in UTC of a day counted from PostgreSQL's epoch. Dates reach further than microseconds can count.
    init(postgresDays days: Int32) {
        let seconds = Int64(days) * 86_400  // can't trap: 32 bits fit
        self.init(timeIntervalSinceReferenceDate: Double(seconds - secondsFromPostgresEpochToReferenceDate))
    }

    init(postgresMicroseconds micros: Int64) {
        switch micros {
        case .max: self = .distantFuture
        case .min: self = .distantPast
        default:
            let (seconds, rest) = micros.quotientAndRemainder(dividingBy: 1_000_000)
            self.init(
                timeIntervalSinceReferenceDate: Double(seconds - secondsFromPostgresEpochToReferenceDate)
                    + Double(rest) / 1_000_000)
        }
    }
}

extension PostgresValue {
    /// Whether the value is text with a NUL character, which PostgreSQL cannot store and libpq would cut off.
    var holdsNUL: Bool {
        switch self {
        case .text(let text), .json(let text): text.utf8.contains(0)
        case .textArray(let texts), .jsonArray(let texts): texts.contains { $0.utf8.contains(0) }
        case .optionalTextArray(let texts): texts.contains { $0?.utf8.contains(0) ?? false }
        default: false
        }
    }
}

extension PostgresValue {
    /// Whether the value is longer than PostgreSQL takes (1 GB); libpq counts its bytes in 32 bits.
    var isTooLong: Bool {
        let length =
            switch self {
            case .text(let text), .json(let text): text.utf8.count
            case .bytes(let bytes): bytes.count
            case .textArray(let texts), .jsonArray(let texts): texts.reduce(0) { $0 + $1.utf8.count + 5 }
            case .optionalTextArray(let texts): texts.reduce(0) { $0 + ($1?.utf8.count ?? 0) + 4 }
            case .boolArray(let elements): elements.count * 5
            case .int32Array(let elements): elements.count * 8
            case .oidArray(let elements): elements.count * 8
            case .int64Array(let elements): elements.count * 12
            case .doubleArray(let elements): elements.count * 12
            case .timestampArray(let elements): elements.count * 12
            case .uuidArray(let elements): elements.count * 20
            case .optionalTimestampArray(let elements): elements.count * 12
            case .optionalUUIDArray(let elements): elements.count * 20
            default: 0
            }
        return length > 0x3fff_ff00
    }
}

/// The binds of one statement laid out for libpq: one buffer, and per value its place, format and type.
struct BindEncoder {
    struct Bind {
        /// Where the value starts in ``BindEncoder/bytes``; -1 for `NULL`.
        var offset: Int
        var length: Int32
        var format: Int32
        var type: UInt32
    }

    private(set) var bytes: [UInt8] = []
    private(set) var binds: [Bind] = []

    mutating func removeAll() {
        self.bytes.removeAll(keepingCapacity: true)
        self.binds.removeAll(keepingCapacity: true)
    }

    mutating func append(_ value: PostgresValue) {
        switch value {
        case .null: self.binds.append(Bind(offset: -1, length: 0, format: 1, type: 0))
        case .bool(let bool): self.appendBinary(TypeOID.bool) { $0.append(bool ? 1 : 0) }
        case .int16(let int): self.appendBinary(TypeOID.int2) { Self.append(int, to: &$0) }
        case .int32(let int): self.appendBinary(TypeOID.int4) { Self.append(int, to: &$0) }
        case .int64(let int): self.appendBinary(TypeOID.int8) { Self.append(int, to: &$0) }
        case .oid(let oid): self.appendBinary(TypeOID.oid) { Self.append(oid, to: &$0) }
        case .double(let double): self.appendBinary(TypeOID.float8) { Self.append(double.bitPattern, to: &$0) }
        case .text(let text): self.appendText(text)
        case .bytes(let bytes): self.appendBinary(TypeOID.bytea) { $0.append(contentsOf: bytes) }
        case .uuid(let uuid): self.appendBinary(TypeOID.uuid) { Self.append(uuid, to: &$0) }
        case .timestamp(let date):
            self.appendBinary(TypeOID.timestamptz) { Self.append(date.postgresMicroseconds, to: &$0) }
        case .json(let json): self.appendBinary(TypeOID.jsonb) { Self.append(json: json, to: &$0) }
        case .textArray(let texts):
            self.appendArray(texts, TypeOID.textArray, TypeOID.text) { $1.append(contentsOf: $0.utf8) }
        case .optionalTextArray(let texts):
            self.appendArray(texts, TypeOID.textArray, TypeOID.text, isNull: { $0 == nil }) {
                $1.append(contentsOf: ($0 ?? "").utf8)
            }
        case .boolArray(let bools):
            self.appendArray(bools, TypeOID.boolArray, TypeOID.bool) { $1.append($0 ? 1 : 0) }
        case .int32Array(let ints):
            self.appendArray(ints, TypeOID.int4Array, TypeOID.int4) { Self.append($0, to: &$1) }
        case .int64Array(let ints):
            self.appendArray(ints, TypeOID.int8Array, TypeOID.int8) { Self.append($0, to: &$1) }
        case .oidArray(let oids):
            self.appendArray(oids, TypeOID.oidArray, TypeOID.oid) { Self.append($0, to: &$1) }
        case .doubleArray(let doubles):
            self.appendArray(doubles, TypeOID.float8Array, TypeOID.float8) { Self.append($0.bitPattern, to: &$1) }
        case .uuidArray(let uuids):
            self.appendArray(uuids, TypeOID.uuidArray, TypeOID.uuid) { Self.append($0, to: &$1) }
        case .optionalUUIDArray(let uuids):
            self.appendArray(uuids, TypeOID.uuidArray, TypeOID.uuid, isNull: { $0 == nil }) { uuid, bytes in
                if let uuid { Self.append(uuid, to: &bytes) }
            }
        case .optionalTimestampArray(let dates):
            self.appendArray(dates, TypeOID.timestamptzArray, TypeOID.timestamptz, isNull: { $0 == nil }) {
                Self.append(($0 ?? .distantPast).postgresMicroseconds, to: &$1)
            }
        case .timestampArray(let dates):
            self.appendArray(dates, TypeOID.timestamptzArray, TypeOID.timestamptz) {
                Self.append($0.postgresMicroseconds, to: &$1)
            }
        case .jsonArray(let documents):
            self.appendArray(documents, TypeOID.jsonbArray, TypeOID.jsonb) { Self.append(json: $0, to: &$1) }
        }
    }

    /// Text travels as a C string: libpq measures it by its final NUL.
    private mutating func appendText(_ text: String) {
        let offset = self.bytes.count
        self.bytes.append(contentsOf: text.utf8)
        let length = Int32(clamping: self.bytes.count - offset)
        self.bytes.append(0)
        self.binds.append(Bind(offset: offset, length: length, format: 0, type: 0))
    }

    private mutating func appendBinary(_ type: UInt32, _ write: (inout [UInt8]) -> Void) {
        let offset = self.bytes.count
        write(&self.bytes)
        self.binds.append(
            Bind(offset: offset, length: Int32(clamping: self.bytes.count - offset), format: 1, type: type))
    }

    /// The binary form of a one-dimensional array: dimensions, null flag, element type, length, lower bound, elements.
    private mutating func appendArray<Element>(
        _ elements: [Element], _ type: UInt32, _ elementType: UInt32, isNull: (Element) -> Bool = { _ in false },
        _ write: (Element, inout [UInt8]) -> Void
    ) {
        self.appendBinary(type) { bytes in
            Self.append((elements.isEmpty ? 0 : 1) as Int32, to: &bytes)
            Self.append((elements.contains(where: isNull) ? 1 : 0) as Int32, to: &bytes)
            Self.append(elementType, to: &bytes)
            guard !elements.isEmpty else { return }
            Self.append(Int32(clamping: elements.count), to: &bytes)
            Self.append(Int32(1), to: &bytes)
            for element in elements {
                guard !isNull(element) else {
                    Self.append(Int32(-1), to: &bytes)
                    continue
                }
                let lengthOffset = bytes.count
                Self.append(Int32(0), to: &bytes)
                write(element, &bytes)
                let length = UInt32(clamping: bytes.count - lengthOffset - 4)
                for index in 0..<4 {
                    bytes[lengthOffset + index] = UInt8(truncatingIfNeeded: length >> (24 - 8 * index))
                }
            }
        }
    }

    private static func append(_ int: some FixedWidthInteger, to bytes: inout [UInt8]) {
        var shift = int.bitWidth - 8
        while shift >= 0 {
            bytes.append(UInt8(truncatingIfNeeded: int >> shift))
            shift -= 8
        }
    }

    private static func append(_ uuid: UUID, to bytes: inout [UInt8]) {
        let u = uuid.uuid
        bytes.append(contentsOf: [
            u.0, u.1, u.2, u.3, u.4, u.5, u.6, u.7, u.8, u.9, u.10, u.11, u.12, u.13, u.14, u.15,
        ])
    }

    /// `jsonb` on the wire is a version byte and the JSON text.
    private static func append(json: String, to bytes: inout [UInt8]) {
        bytes.append(1)
        bytes.append(contentsOf: json.utf8)
    }
}
