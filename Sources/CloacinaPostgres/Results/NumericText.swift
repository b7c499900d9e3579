/// A `numeric` read from the server's binary form, exactly.
enum NumericText {
    /// The number as PostgreSQL writes it; `nil` for bytes that are none.
    static func text(_ bytes: ArraySlice<UInt8>) -> String? {
        var reader = CellReader(bytes: Array(bytes))
        guard let count = reader.integer(Int16.self), let weight = reader.integer(Int16.self),
            let sign = reader.integer(UInt16.self), let scale = reader.integer(UInt16.self), count >= 0
        else { return nil }
        switch sign {
        case 0x0000, 0x4000: break
        case 0xc000: return "NaN"
        case 0xd000: return "Infinity"
        case 0xf000: return "-Infinity"
        default: return nil
        }
        var digits: [Int16] = []
        for _ in 0..<count {
            guard let digit = reader.integer(Int16.self), (0...9999).contains(digit) else { return nil }
            digits.append(digit)
        }
        let whole = Self.whole(digits, weight: Int(weight))  // can't trap: 16 bits fit
        // can't trap: 16 bits fit
        let fraction = Self.fraction(digits, weight: Int(weight), scale: Int(scale))
        return (sign == 0x4000 ? "-" : "") + whole + fraction
    }

    /// The number as an integer, if it is one that fits.
    static func integer(_ bytes: ArraySlice<UInt8>) -> Int64? {
        guard let text = Self.text(bytes) else { return nil }
        let parts = text.split(separator: ".", maxSplits: 1)
        guard parts.count == 1 || parts[1].allSatisfy({ $0 == "0" }) else { return nil }
        return Int64(parts[0], radix: 10)
    }

    /// The digits from the first to the last that is not zero, and the power of ten of the last one; no digits for
    /// zero.
    static func significand(of text: String) -> (digits: String, exponent: Int) {
        let parts = text.split(separator: ".", maxSplits: 1)
        let fraction = parts.count > 1 ? parts[1].utf8.count : 0
        let digits = text.filter { ("0"..."9").contains($0) }
        guard let first = digits.firstIndex(where: { $0 != "0" }), let last = digits.lastIndex(where: { $0 != "0" })
        else { return ("", 0) }
        let zeros = digits.distance(from: last, to: digits.endIndex) - 1
        return (String(digits[first...last]), zeros - fraction)
    }

    /// Each digit of the binary form stands for four of ours; the first has the weight 10000 ^ `weight`.
    private static func whole(_ digits: [Int16], weight: Int) -> String {
        guard weight >= 0 else { return "0" }
        var text = ""
        for position in 0...weight {
            let digit = String(position < digits.count ? digits[position] : 0)
            text += position == 0 ? digit : Self.pad(digit)
        }
        return text
    }

    private static func fraction(_ digits: [Int16], weight: Int, scale: Int) -> String {
        guard scale > 0 else { return "" }
        var text = ""
        var position = weight + 1
        while text.utf8.count < scale {
            text += Self.pad(String(digits.indices.contains(position) ? digits[position] : 0))
            position += 1
        }
        return "." + text.prefix(scale)
    }

    private static func pad(_ digit: String) -> String {
        String(repeating: "0", count: max(0, 4 - digit.utf8.count)) + digit
    }
}
