/// One line of `zone1970.tab` as the file has it: split at its tabs, nothing interpreted.
struct ZoneLine: Codable, Sendable, Hashable {
    /// The line's number in the file, from 1: every complaint names it.
    var number: Int
    var countries: String
    var coordinates: String
    var name: String
    var comments: String?
}

/// One time zone: what a line means.
struct TimeZoneRow: Codable, Sendable, Hashable {
    var name: String
    var latitude: Double
    var longitude: Double
    var comments: String?
}

/// One country that a time zone overlaps.
struct CountryZoneRow: Codable, Sendable, Hashable {
    var country: String
    var zone: String
    /// Whether the zone's principal city lies in this country (it is listed first).
    var isPrincipal: Bool
}

/// The system's table of time zones, parsed and interpreted without touching a file or a database.
struct ZoneTable: Codable, Sendable, Hashable {
    var zones: [TimeZoneRow]
    var countryZones: [CountryZoneRow]

    /// Splits the text of `zone1970.tab` into its rows, leaving comments and blank lines out.
    ///
    /// Throws ``ZoneTableError`` when a row has fewer than three columns, or more than four.
    static func lines(of text: String) throws(ZoneTableError) -> [ZoneLine] {
        var lines: [ZoneLine] = []
        for (index, raw) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            if raw.isEmpty || raw.hasPrefix("#") {
                continue
            }
            let columns = raw.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
            guard (3...4).contains(columns.count) else {
                throw ZoneTableError(.wrongColumnCount(columns.count), line: index + 1)
            }
            lines.append(
                ZoneLine(
                    number: index + 1, countries: columns[0], coordinates: columns[1], name: columns[2],
                    comments: columns.count == 4 ? columns[3] : nil
                )
            )
        }
        return lines
    }

    /// Interprets the rows: decimal coordinates, and one entry for every country of every zone.
    ///
    /// Throws ``ZoneTableError`` for the first row that is not what the format promises; nothing is guessed.
    init(_ lines: [ZoneLine]) throws(ZoneTableError) {
        var seen: Set<String> = []
        self.zones = []
        self.countryZones = []
        for line in lines {
            guard Self.isZoneName(line.name) else {
                throw ZoneTableError(.invalidZoneName(line.name), line: line.number)
            }
            guard seen.insert(line.name).inserted else {
                throw ZoneTableError(.duplicateZone(line.name), line: line.number)
            }
            guard let coordinates = Coordinates(iso6709: line.coordinates) else {
                throw ZoneTableError(.invalidCoordinates(line.coordinates), line: line.number)
            }
            self.zones.append(
                TimeZoneRow(
                    name: line.name, latitude: coordinates.latitude, longitude: coordinates.longitude,
                    comments: line.comments
                )
            )
            let rows = try Self.countryZones(of: line)
            self.countryZones.append(contentsOf: rows)
        }
    }

    private static func countryZones(of line: ZoneLine) throws(ZoneTableError) -> [CountryZoneRow] {
        var rows: [CountryZoneRow] = []
        for code in line.countries.split(separator: ",", omittingEmptySubsequences: false) {
            guard code.utf8.count == 2, code.utf8.allSatisfy({ (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) })
            else {
                throw ZoneTableError(.invalidCountry(String(code)), line: line.number)
            }
            guard !rows.contains(where: { $0.country == code }) else {
                throw ZoneTableError(.invalidCountry(String(code)), line: line.number)
            }
            rows.append(CountryZoneRow(country: String(code), zone: line.name, isPrincipal: rows.isEmpty))
        }
        return rows
    }

    /// `Area/Location` out of letters, digits, `_`, `-`, `+`, no part empty.
    private static func isZoneName(_ name: String) -> Bool {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        return parts.count >= 2
            && parts.allSatisfy { part in
                !part.isEmpty && part.utf8.allSatisfy(Self.isZoneNameByte)
            }
    }

    private static func isZoneNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "+"):
            true
        default:
            false
        }
    }
}

/// A place on earth in decimal degrees, north and east positive.
struct Coordinates: Sendable, Hashable {
    let latitude: Double
    let longitude: Double

    /// Reads `±DDMM±DDDMM` or `±DDMMSS±DDDMMSS`; nil when the text is anything else or lies off the globe.
    init?(iso6709 text: String) {
        let bytes = Array(text.utf8)
        let latitudeLength: Int
        switch bytes.count {
        case 11: latitudeLength = 5
        case 15: latitudeLength = 7
        default: return nil
        }
        guard
            let latitude = Self.degrees(bytes[..<latitudeLength], degreeDigits: 2, limit: 90),
            let longitude = Self.degrees(bytes[latitudeLength...], degreeDigits: 3, limit: 180)
        else {
            return nil
        }
        self.latitude = latitude
        self.longitude = longitude
    }

    private static func degrees(_ bytes: ArraySlice<UInt8>, degreeDigits: Int, limit: Int) -> Double? {
        let sign: Double
        switch bytes.first {
        case UInt8(ascii: "+"): sign = 1
        case UInt8(ascii: "-"): sign = -1
        default: return nil
        }
        let digits = bytes.dropFirst()
        guard
            let degrees = Self.number(digits.prefix(degreeDigits)),
            let minutes = Self.number(digits.dropFirst(degreeDigits).prefix(2)), minutes < 60,
            let seconds = Self.number(digits.dropFirst(degreeDigits + 2)), seconds < 60
        else {
            return nil
        }
        let total = degrees * 3600 + minutes * 60 + seconds
        return total <= limit * 3600 ? sign * Double(total) / 3600 : nil
    }

    /// The digits' value; 0 for none, since seconds may be left out.
    private static func number(_ digits: ArraySlice<UInt8>) -> Int? {
        var value = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else {
                return nil
            }
            value = value * 10 + Int(digit - UInt8(ascii: "0"))  // can't trap: a digit is below 10
        }
        return value
    }
}

/// What is wrong with a row of the table, and on which line.
struct ZoneTableError: Error, Sendable, Hashable, CustomStringConvertible {
    enum Problem: Sendable, Hashable {
        case wrongColumnCount(Int)
        case invalidCountry(String)
        case invalidCoordinates(String)
        case invalidZoneName(String)
        case duplicateZone(String)
    }

    let problem: Problem
    let line: Int

    init(_ problem: Problem, line: Int) {
        self.problem = problem
        self.line = line
    }

    var description: String {
        let reason =
            switch self.problem {
            case .wrongColumnCount(let count): "expected 3 or 4 columns separated by tabs, found \(count)"
            case .invalidCountry(let code): "'\(code)' is no two-letter country code, or is listed twice"
            case .invalidCoordinates(let text): "'\(text)' is neither ±DDMM±DDDMM nor ±DDMMSS±DDDMMSS on the globe"
            case .invalidZoneName(let name): "'\(name)' is no time zone name"
            case .duplicateZone(let name): "time zone '\(name)' is listed twice"
            }
        return "line \(self.line): \(reason)"
    }
}
