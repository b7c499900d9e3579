#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A `Date` counts seconds since 2001 in binary, and most of those that people make were computed from seconds since 1970. Up to
/// six digits of a second are read as a number of the latter, more as a number of the former: so the usual dates are short, and
/// every date has a text that brings it back bit for bit.
extension DateText {
    private static let secondsTo2001 = 978_307_200
    private static let secondsTo0000 = -62_167_219_200
    private static let secondsTo10000 = 253_402_300_800
    private static let secondsPerDay = 86_400

    /// The date at that instant.
    var date: Date {
        guard self.digitCount > 6 else {
            let scale = self.fraction.reduce(into: 1) { scale, _ in scale *= 10 }
            // can't trap: the years 0000 to 9999 in microseconds
            let count = self.fraction.reduce(0) { $0 * 10 + Int($1) } + self.seconds * scale
            return Date(timeIntervalSince1970: Double(count) / Double(scale))
        }
        let (sign, whole, fraction) = Self.magnitude(self.seconds - Self.secondsTo2001, self.fraction)
        return Date(timeIntervalSinceReferenceDate: Double("\(sign)\(whole).\(Self.text(of: fraction))") ?? 0)
    }

    /// A date as ISO 8601 in UTC, as short as brings it back; nil beyond the years 0000 to 9999.
    static func text(of date: Date) -> String? {
        let seconds = date.timeIntervalSince1970
        guard seconds >= Double(Self.secondsTo0000), seconds < Double(Self.secondsTo10000) else { return nil }
        var scale = 1
        for digits in 0...6 {
            // can't trap: the years 0000 to 9999 in microseconds
            let count = Int((seconds * Double(scale)).rounded())
            let whole = count.quotient(byFlooring: scale)
            let text = Self.text(seconds: whole, fraction: Self.padded(count - whole * scale, to: digits))
            if let text, Self(text)?.date == date { return text }
            scale *= 10
        }
        guard let exact = DecimalDigits(date.timeIntervalSinceReferenceDate) else { return nil }
        let split = exact.plainText.drop { $0 == "-" }.split(separator: ".", maxSplits: 1)
        let digits = split.count > 1 ? split[1].utf8.map { $0 - UInt8(ascii: "0") } : []
        let size = Int(split.first ?? "0", radix: 10) ?? 0
        let isBelowWhole = exact.isNegative && !exact.isWhole
        let whole = exact.isNegative ? -size - (isBelowWhole ? 1 : 0) : size
        let fraction = isBelowWhole ? Self.complement(digits) : digits
        let zeros = String(repeating: "0", count: max(0, 7 - fraction.count))
        return Self.text(seconds: whole + Self.secondsTo2001, fraction: Self.text(of: fraction) + zeros)
    }

    private static func text(seconds: Int, fraction: String) -> String? {
        guard seconds >= Self.secondsTo0000, seconds < Self.secondsTo10000 else { return nil }
        let days = seconds.quotient(byFlooring: Self.secondsPerDay)
        let time = seconds - days * Self.secondsPerDay
        let (year, month, day) = Self.civil(daysSinceEpoch: days)
        let date = "\(Self.padded(year, to: 4))-\(Self.padded(month, to: 2))-\(Self.padded(day, to: 2))"
        let clock = [time / 3600, time / 60 % 60, time % 60].map { Self.padded($0, to: 2) }.joined(separator: ":")
        return "\(date)T\(clock)\(fraction.isEmpty ? "" : "." + fraction)Z"
    }

    /// Counts days from March of the year 0000 in periods of 400 years, as long as they are in the calendar.
    private static func civil(daysSinceEpoch: Int) -> (year: Int, month: Int, day: Int) {
        let days = daysSinceEpoch + 719_468
        let era = days.quotient(byFlooring: 146_097)
        let dayOfEra = days - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * marchMonth + 2) / 5 + 1)
    }

    /// A number of whole seconds and a fraction that adds to it, as people write a number: with a sign before both.
    private static func magnitude(_ seconds: Int, _ fraction: [UInt8]) -> (sign: String, whole: Int, fraction: [UInt8])
    {
        guard seconds < 0 else { return ("", seconds, fraction) }
        return fraction.isEmpty ? ("-", -seconds, []) : ("-", -(seconds + 1), Self.complement(fraction))
    }

    /// The digits of 1 less the fraction, whose last digit isn't 0.
    private static func complement(_ digits: [UInt8]) -> [UInt8] {
        digits.enumerated().map { index, digit in (index == digits.count - 1 ? 10 : 9) - digit }
    }

    private static func text(of digits: [UInt8]) -> String {
        digits.isEmpty ? "" : String(decoding: digits.map { $0 + UInt8(ascii: "0") }, as: UTF8.self)
    }

    /// Nothing for no digits.
    private static func padded(_ number: Int, to digits: Int) -> String {
        let text = digits == 0 ? "" : "\(number)"
        return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
    }
}

extension Int {
    /// The quotient rounded down, also below zero.
    fileprivate func quotient(byFlooring divisor: Int) -> Int {
        let quotient = self / divisor
        return self % divisor < 0 ? quotient - 1 : quotient
    }
}
