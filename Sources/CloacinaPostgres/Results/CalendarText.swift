/// Dates and times as PostgreSQL writes them in ISO style, in UTC.
enum CalendarText {
    private static let microsecondsPerDay: Int64 = 86_400_000_000
    private static let daysFrom1970To2000: Int64 = 10_957

    /// A timestamp, given in microseconds since 2000-01-01.
    ///
    /// - Parameters:
    ///   - zone: What follows the time, such as `+00`.
    ///   - trimmed: Whether zeros at the end of the fraction are left out, as the server does.
    static func timestamp(_ microseconds: Int64, zone: String = "", trimmed: Bool = true) -> String {
        if microseconds == .max { return "infinity" }
        if microseconds == .min { return "-infinity" }
        var (days, rest) = microseconds.quotientAndRemainder(dividingBy: Self.microsecondsPerDay)
        if rest < 0 {
            rest += Self.microsecondsPerDay
            days -= 1
        }
        let (date, isBeforeChrist) = Self.parts(days: days)
        return "\(date) \(Self.time(rest, trimmed: trimmed))\(zone)\(isBeforeChrist ? " BC" : "")"
    }

    /// A date, given in days since 2000-01-01.
    static func date(_ days: Int32) -> String {
        if days == .max { return "infinity" }
        if days == .min { return "-infinity" }
        let (date, isBeforeChrist) = Self.parts(days: Int64(days))  // can't trap: 32 bits fit
        return isBeforeChrist ? date + " BC" : date
    }

    /// A time of day, given in microseconds; `nil` when it is none.
    static func time(ofDay microseconds: Int64) -> String? {
        (0...Self.microsecondsPerDay).contains(microseconds) ? Self.time(microseconds, trimmed: true) : nil
    }

    /// A zone as PostgreSQL sends it, in seconds west of Greenwich.
    static func zone(secondsWest: Int32) -> String? {
        let seconds = abs(Int64(secondsWest))  // can't trap: 32 bits fit
        guard seconds < 86_400 else { return nil }
        var text = secondsWest > 0 ? "-" : "+"
        text += Self.pad(seconds / 3600)
        if seconds % 3600 != 0 { text += ":" + Self.pad(seconds / 60 % 60) }
        if seconds % 60 != 0 { text += ":" + Self.pad(seconds % 60) }
        return text
    }

    /// An interval in ISO 8601, as PostgreSQL writes it with `intervalstyle = iso_8601`.
    static func interval(months: Int32, days: Int32, microseconds: Int64) -> String {
        if (months, days, microseconds) == (.max, .max, .max) { return "infinity" }
        if (months, days, microseconds) == (.min, .min, .min) { return "-infinity" }
        let minutes = microseconds / 60_000_000
        let rest = microseconds % 60_000_000
        var date = ""
        if months / 12 != 0 { date += "\(months / 12)Y" }
        if months % 12 != 0 { date += "\(months % 12)M" }
        if days != 0 { date += "\(days)D" }
        var time = ""
        if minutes / 60 != 0 { time += "\(minutes / 60)H" }
        if minutes % 60 != 0 { time += "\(minutes % 60)M" }
        if rest != 0 {
            let (seconds, micros) = abs(rest).quotientAndRemainder(dividingBy: 1_000_000)
            time += "\(rest < 0 ? "-" : "")\(seconds)\(Self.fraction(micros, trimmed: true))S"
        }
        if date.isEmpty, time.isEmpty { return "PT0S" }
        return "P" + date + (time.isEmpty ? "" : "T" + time)
    }

    private static func time(_ microseconds: Int64, trimmed: Bool) -> String {
        let seconds = microseconds / 1_000_000
        let clock = "\(Self.pad(seconds / 3600)):\(Self.pad(seconds / 60 % 60)):\(Self.pad(seconds % 60))"
        return clock + Self.fraction(microseconds % 1_000_000, trimmed: trimmed)
    }

    private static func fraction(_ microseconds: Int64, trimmed: Bool) -> String {
        guard trimmed else { return "." + Self.pad(microseconds, 6) }
        guard microseconds != 0 else { return "" }
        var digits = Self.pad(microseconds, 6)
        while digits.last == "0" { digits.removeLast() }
        return "." + digits
    }

    private static func pad(_ number: Int64, _ width: Int = 2) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }

    private static func parts(days: Int64) -> (date: String, isBeforeChrist: Bool) {
        let (year, month, day) = Self.civil(days: days + Self.daysFrom1970To2000)
        return ("\(Self.pad(year > 0 ? year : 1 - year, 4))-\(Self.pad(month))-\(Self.pad(day))", year <= 0)
    }

    /// The Gregorian date of a day counted from 1970-01-01, by H. Hinnant's "chrono-compatible low-level date
    /// algorithms".
    private static func civil(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }
}
