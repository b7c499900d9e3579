/// The text of values in the server's binary form.
enum BinaryText {
    /// The value's text; `nil` for a type that can't be read as text, or bytes that are no value of it.
    static func text(_ bytes: ArraySlice<UInt8>, type: UInt32, types: TypeCatalog?) -> String? {
        if Self.textTypes.contains(type) || types?.isText(type) == true {
            return String(decoding: bytes, as: UTF8.self)
        }
        var reader = CellReader(bytes: Array(bytes))
        switch type {
        case TypeOID.jsonb: return String(decoding: bytes.dropFirst(), as: UTF8.self)
        case TypeOID.numeric: return NumericText.text(bytes)
        case TypeOID.date: return reader.integer(Int32.self).map { CalendarText.date($0) }
        case TypeOID.time: return reader.integer(Int64.self).flatMap { CalendarText.time(ofDay: $0) }
        case TypeOID.timestamp: return reader.integer(Int64.self).map { CalendarText.timestamp($0) }
        case TypeOID.timestamptz: return reader.integer(Int64.self).map { CalendarText.timestamp($0, zone: "+00") }
        case TypeOID.timetz:
            guard let time = reader.integer(Int64.self).flatMap({ CalendarText.time(ofDay: $0) }),
                let zone = reader.integer(Int32.self).flatMap({ CalendarText.zone(secondsWest: $0) })
            else { return nil }
            return time + zone
        case TypeOID.interval:
            guard let microseconds = reader.integer(Int64.self), let days = reader.integer(Int32.self),
                let months = reader.integer(Int32.self)
            else { return nil }
            return CalendarText.interval(months: months, days: days, microseconds: microseconds)
        default: return nil
        }
    }

    /// Whether values of a type can be read as text.
    static func isReadable(_ type: UInt32, types: TypeCatalog?) -> Bool {
        Self.textTypes.contains(type) || Self.formattedTypes.contains(type) || types?.isText(type) == true
    }

    /// Types whose binary form is their text.
    static let textTypes: Set<UInt32> = [
        TypeOID.text, TypeOID.varchar, TypeOID.name, TypeOID.bpchar, TypeOID.json, TypeOID.xml, TypeOID.unknown,
        TypeOID.char, TypeOID.cstring, TypeOID.refcursor,
    ]

    private static let formattedTypes: Set<UInt32> = [
        TypeOID.jsonb, TypeOID.numeric, TypeOID.date, TypeOID.time, TypeOID.timetz, TypeOID.timestamp,
        TypeOID.timestamptz, TypeOID.interval,
    ]
}
