/// Hostile names as text that can be shown on one line, and written in each format.
enum GraphText {
    /// The text with everything that can't be seen, moves other text about or isn't allowed in XML replaced: control
    /// characters by their pictures (`␊`), direction marks, line separators and non-characters by `�`.
    static func printable(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0..<0x20: result.append(Unicode.Scalar(0x2400 + scalar.value) ?? "\u{FFFD}")
            case 0x7F: result.append("\u{2421}")
            case 0x80..<0xA0, 0x2028...0x202E, 0x2066...0x2069, 0xFDD0...0xFDEF: result.append("\u{FFFD}")
            case let value where value & 0xFFFE == 0xFFFE: result.append("\u{FFFD}")
            default: result.append(scalar)
            }
        }
        return String(result)
    }

    /// The beginning of a printable text that fits into a number of columns, with `…` where something is left out.
    static func elided(_ text: String, columns limit: Int) -> String {
        var result = String.UnicodeScalarView()
        var columns = 0
        for scalar in text.unicodeScalars {
            let width = Self.columns(of: scalar)
            // Marks take no column of their own, but there may be thousands of them.
            guard columns + width <= limit, result.count < 2 * limit else {
                while let last = result.last, columns >= limit || Self.columns(of: last) == 0 {
                    columns -= Self.columns(of: last)
                    result.removeLast()
                }
                result.append("…")
                break
            }
            result.append(scalar)
            columns += width
        }
        return String(result)
    }

    /// How many columns a text takes in a font of fixed width, about.
    static func columns(_ text: String) -> Int { text.unicodeScalars.reduce(0) { $0 + Self.columns(of: $1) } }

    // Ranges of our own rather than Unicode's properties, which differ between versions of Swift.
    private static func columns(of scalar: Unicode.Scalar) -> Int {
        switch scalar.value {
        case 0x300...0x36F, 0x483...0x489, 0x1AB0...0x1AFF, 0x1DC0...0x1DFF, 0x200B...0x200F, 0x20D0...0x20FF,
            0x2060...0x2065, 0xFE00...0xFE0F, 0xFE20...0xFE2F, 0xFEFF, 0xE0000...0xE0FFF:
            0
        case 0x1100...0x115F, 0x2E80...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60,
            0xFFE0...0xFFE6, 0x1F000...0x1FAFF, 0x20000...0x3FFFD:
            2
        default:
            1
        }
    }

    /// Text for an element or a quoted attribute of XML.
    static func xml(_ text: String) -> String {
        self.escaped(text) { scalar in
            switch scalar {
            case "&": "&amp;"
            case "<": "&lt;"
            case ">": "&gt;"
            case "\"": "&quot;"
            case "'": "&#39;"
            default: nil
            }
        }
    }

    /// Text inside a quoted label of DOT, where a backslash begins an escape and Graphviz reads HTML's entities.
    static func dot(_ text: String) -> String {
        self.escaped(text) { scalar in
            switch scalar {
            case "&": "&amp;"
            case "\"": "\\\""
            case "\\": "\\\\"
            default: nil
            }
        }
    }

    /// Text inside a quoted label of Mermaid, which reads `#NN;` as a character.
    ///
    /// ASCII's punctuation is written that way, as Mermaid reads labels as Markdown, HTML and names of icons too. Only a comma
    /// stays, and `-`, `.` and `_` between letters and digits, where they have no meaning.
    static func mermaid(_ text: String) -> String {
        let scalars = Array(text.unicodeScalars)
        var result = ""
        for (index, scalar) in scalars.enumerated() {
            let isInside = index > 0 && index + 1 < scalars.count
            switch scalar {
            case "a"..."z", "A"..."Z", "0"..."9", " ", ",":
                result.unicodeScalars.append(scalar)
            case "-", ".", "_":
                if isInside, Self.isAlphanumeric(scalars[index - 1]), Self.isAlphanumeric(scalars[index + 1]) {
                    result.unicodeScalars.append(scalar)
                } else {
                    result += "#\(scalar.value);"
                }
            default:
                if scalar.isASCII { result += "#\(scalar.value);" } else { result.unicodeScalars.append(scalar) }
            }
        }
        return result
    }

    /// Text inside a double-quoted scalar of YAML.
    static func yaml(_ text: String) -> String {
        self.escaped(text) { scalar in
            switch scalar {
            case "\"": "\\\""
            case "\\": "\\\\"
            default: nil
            }
        }
    }

    private static func isAlphanumeric(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "a"..."z", "A"..."Z", "0"..."9": true
        default: false
        }
    }

    private static func escaped(_ text: String, by escape: (Unicode.Scalar) -> String?) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            if let replacement = escape(scalar) { result += replacement } else { result.unicodeScalars.append(scalar) }
        }
        return result
    }
}
