/// Reads the names that are written `U&"…"`: a backslash, or another character, begins the number of a character.
enum UnicodeEscapes {
    /// The name that the server reads; nil when it would refuse it.
    static func decode(_ text: String, escape: Unicode.Scalar = "\\") -> String? {
        var units: [UInt16] = []
        var rest = text.unicodeScalars[...]
        while let scalar = rest.popFirst() {
            guard scalar == escape else {
                units += UTF16.encode(scalar).map(Array.init) ?? []
                continue
            }
            if rest.first == escape {
                units += UTF16.encode(escape).map(Array.init) ?? []
                rest.removeFirst()
                continue
            }
            let isLong = rest.first == "+"
            if isLong { rest.removeFirst() }
            guard let number = self.number(&rest, digits: isLong ? 6 : 4) else { return nil }
            if let unit = UInt16(exactly: number) {
                // Half of a pair is a unit of its own; the two make one character below.
                units.append(unit)
            } else {
                guard let scalar = Unicode.Scalar(number) else { return nil }
                units += UTF16.encode(scalar).map(Array.init) ?? []
            }
        }
        return String(validating: units, as: UTF16.self)
    }

    private static func number(_ rest: inout Substring.UnicodeScalarView, digits: Int) -> UInt32? {
        guard rest.count >= digits else { return nil }
        let text = String(String.UnicodeScalarView(rest.prefix(digits)))
        guard text.allSatisfy(\.isHexDigit), let number = UInt32(text, radix: 16) else { return nil }
        rest.removeFirst(digits)
        return number
    }
}
