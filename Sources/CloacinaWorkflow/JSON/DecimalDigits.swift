/// A number written in decimal, without a bound on its digits: 0.d₁d₂d₃… × 10^``point``.
struct DecimalDigits: Hashable, Sendable {
    /// Zero, which has no digits and no sign.
    static let zero = Self(isNegative: false, digits: [], point: 0)

    let isNegative: Bool
    /// From 0 to 9, with a zero at neither end.
    let digits: [UInt8]
    let point: Int

    private init(isNegative: Bool, digits: [UInt8], point: Int) {
        self.isNegative = isNegative && !digits.isEmpty
        self.digits = digits
        self.point = digits.isEmpty ? 0 : point
    }

    /// Reads what JSON, `Int`, `Double` and `Decimal` write; nil for anything else. An exponent of billions counts as one
    /// billion.
    init?(_ text: String) {
        var bytes = text.utf8[...]
        let isNegative = bytes.first == UInt8(ascii: "-")
        if isNegative { bytes.removeFirst() }
        let whole = Self.takeDigits(&bytes)
        var fraction: [UInt8] = []
        if bytes.first == UInt8(ascii: ".") {
            bytes.removeFirst()
            fraction = Self.takeDigits(&bytes)
        }
        guard !whole.isEmpty || !fraction.isEmpty, let exponent = Self.takeExponent(&bytes), bytes.isEmpty else {
            return nil
        }
        let all = whole + fraction
        let leading = all.prefix { $0 == 0 }.count
        let trailing = all.reversed().prefix { $0 == 0 }.count
        let significant = leading == all.count ? [] : Array(all[leading..<(all.count - trailing)])
        self.init(isNegative: isNegative, digits: significant, point: whole.count - leading + exponent)
    }

    /// The digits that bring the number back; nil for NaN and the infinities.
    init?(_ number: Double) {
        guard number.isFinite else { return nil }
        self.init(number.description)
    }

    /// Whether it has no fraction.
    var isWhole: Bool { self.point >= self.digits.count }

    /// The number without an exponent. For a number of moderate size: the text has as many zeros as that needs.
    var plainText: String {
        let sign = self.isNegative ? "-" : ""
        if self.digits.isEmpty { return "0" }
        if self.point <= 0 {
            return sign + "0." + String(repeating: "0", count: -self.point) + self.text(0, self.digits.count)
        }
        if self.isWhole {
            return sign + self.text(0, self.digits.count)
                + String(repeating: "0", count: self.point - self.digits.count)
        }
        return sign + self.text(0, self.point) + "." + self.text(self.point, self.digits.count)
    }

    private func text(_ start: Int, _ end: Int) -> String {
        String(decoding: self.digits[start..<end].map { $0 + UInt8(ascii: "0") }, as: UTF8.self)
    }

    private static func takeDigits(_ bytes: inout Substring.UTF8View) -> [UInt8] {
        let digits = bytes.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        bytes = bytes[digits.endIndex...]
        return digits.map { $0 - UInt8(ascii: "0") }
    }

    /// Zero when there is none; nil when no digits follow the `e`.
    private static func takeExponent(_ bytes: inout Substring.UTF8View) -> Int? {
        guard bytes.first == UInt8(ascii: "e") || bytes.first == UInt8(ascii: "E") else { return 0 }
        bytes.removeFirst()
        let isNegative = bytes.first == UInt8(ascii: "-")
        if isNegative || bytes.first == UInt8(ascii: "+") { bytes.removeFirst() }
        let digits = self.takeDigits(&bytes)
        guard !digits.isEmpty else { return nil }
        // can't trap: held at a billion in every step
        let size = digits.reduce(0) { min(1_000_000_000, $0 * 10 + Int($1)) }
        return isNegative ? -size : size
    }
}

extension DecimalDigits: Comparable {
    static func < (left: Self, right: Self) -> Bool {
        guard left.isNegative == right.isNegative else { return left.isNegative }
        return left.isNegative ? right.isSmaller(than: left) : left.isSmaller(than: right)
    }

    /// Whether the number is nearer to zero; zero is nearest.
    private func isSmaller(than other: Self) -> Bool {
        guard !self.digits.isEmpty, !other.digits.isEmpty else { return self.digits.isEmpty && !other.digits.isEmpty }
        guard self.point == other.point else { return self.point < other.point }
        return self.digits.lexicographicallyPrecedes(other.digits)
    }
}
