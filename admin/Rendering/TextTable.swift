/// Columns of text, aligned, for people.
struct TextTable: Equatable {
    let headings: [String]?
    let rows: [[String]]
    /// Beyond this many characters a cell stands out of its column: one long text must not widen every line.
    private static let widestColumn = 80

    /// A table; what a terminal would take for a command is made visible in every row.
    init(_ headings: [String]?, rows: [[String]]) {
        let columns = headings?.count ?? rows.first?.count ?? 0
        precondition(rows.allSatisfy { $0.count == columns }, "a row has as many cells as the table has columns")
        self.headings = headings
        self.rows = rows.map { $0.map(Self.printable) }
    }

    /// The table with one line for the headings, two blanks between columns, no blank at a line's end.
    var text: String {
        let lines = [self.headings].compactMap { $0 } + self.rows
        let widths = (lines.first ?? []).indices.map { column in
            min(lines.map { $0[column].count }.max() ?? 0, Self.widestColumn)
        }
        return lines.map { Self.line($0, widths) }.joined()
    }

    private static func line(_ cells: [String], _ widths: [Int]) -> String {
        var line = ""
        for (cell, width) in zip(cells, widths) {
            line += cell + String(repeating: " ", count: max(0, width - cell.count) + 2)
        }
        while line.last == " " { line.removeLast() }
        return line + "\n"
    }

    /// Control and direction characters as `\u{1b}`, so that no name can draw on the operator's terminal.
    static func printable(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            if scalar.isUnprintable {
                result += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}

extension Unicode.Scalar {
    /// Whether a terminal may take it for a command, or for the end or the direction of a line.
    var isUnprintable: Bool {
        switch self.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned: true
        default: false
        }
    }
}
