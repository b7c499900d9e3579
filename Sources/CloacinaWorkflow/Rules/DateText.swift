/// An instant, read from a date with a time and an offset (RFC 3339), down to the last digit of its fraction.
struct DateText: Comparable {
    /// Seconds since 1970 began in UTC.
    let seconds: Int
    /// The fraction's digits without zeros at the end.
    let fraction: [UInt8]
    /// How many digits the fraction was written with.
    let digitCount: Int

    static func == (left: Self, right: Self) -> Bool {
        left.seconds == right.seconds && left.fraction == right.fraction
    }

    static func < (left: Self, right: Self) -> Bool {
        left.seconds == right.seconds
            ? left.fraction.lexicographicallyPrecedes(right.fraction) : left.seconds < right.seconds
    }

    /// Reads `2026-03-01T09:30:00.25+01:00` or the same with `Z`; nil for anything else, such as a date alone, which is no
    /// instant. Second 60 is the leap second, held to be the first of the next minute.
    init?(_ text: String) {
        var reader = Reader(bytes: text.utf8[...])
        guard let year = reader.number(digits: 4), reader.take("-"),
            let month = reader.number(digits: 2), (1...12).contains(month), reader.take("-"),
            let day = reader.number(digits: 2), day >= 1, day <= Self.days(inMonth: month, year: year),
            reader.take("T") || reader.take("t"),
            let hour = reader.number(digits: 2), hour <= 23, reader.take(":"),
            let minute = reader.number(digits: 2), minute <= 59, reader.take(":"),
            let second = reader.number(digits: 2), second <= 60,
            let fraction = reader.fraction(), let offset = reader.offset(), reader.bytes.isEmpty
        else { return nil }
        let days = Self.days(sinceEpochTo: year, month, day)
        self.seconds = ((days * 24 + hour) * 60 + minute) * 60 + second - offset
        self.digitCount = fraction.count
        self.fraction = fraction.dropLast(fraction.reversed().prefix { $0 == 0 }.count)
    }

    private static func days(inMonth month: Int, year: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Counts years from March, so that a leap day is a year's last.
    private static func days(sinceEpochTo year: Int, _ month: Int, _ day: Int) -> Int {
        let marchYear = month > 2 ? year : year - 1
        let century = marchYear >= 0 ? marchYear / 100 : -1
        let marchMonth = (month + 9) % 12
        let leapDays = (marchYear >= 0 ? marchYear / 4 : -1) - century + (marchYear >= 0 ? marchYear / 400 : -1)
        return marchYear * 365 + leapDays + (marchMonth * 153 + 2) / 5 + day - 719_469
    }
}

extension DateText {
    private struct Reader {
        private(set) var bytes: Substring.UTF8View

        mutating func take(_ character: Unicode.Scalar) -> Bool {
            guard self.bytes.first == UInt8(ascii: character) else { return false }
            self.bytes.removeFirst()
            return true
        }

        private mutating func digit() -> UInt8? {
            guard let byte = self.bytes.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else {
                return nil
            }
            self.bytes.removeFirst()
            return byte - UInt8(ascii: "0")
        }

        mutating func number(digits: Int) -> Int? {
            var number = 0
            for _ in 0..<digits {
                guard let digit = self.digit() else { return nil }
                // can't trap: at most four digits
                number = number * 10 + Int(digit)
            }
            return number
        }

        /// Empty when there is none; nil when no digit follows the dot.
        mutating func fraction() -> [UInt8]? {
            guard self.take(".") else { return [] }
            var digits: [UInt8] = []
            while let digit = self.digit() { digits.append(digit) }
            return digits.isEmpty ? nil : digits
        }

        /// Seconds east of UTC.
        mutating func offset() -> Int? {
            if self.take("Z") || self.take("z") { return 0 }
            let isWest = self.take("-")
            guard isWest || self.take("+"), let hours = self.number(digits: 2), hours <= 23, self.take(":"),
                let minutes = self.number(digits: 2), minutes <= 59
            else { return nil }
            return (hours * 60 + minutes) * (isWest ? -60 : 60)
        }
    }
}
