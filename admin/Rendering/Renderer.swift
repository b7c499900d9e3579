import FoundationEssentials

/// An answer that knows its three forms.
protocol Renderable: Encodable {
    /// The headings of the table of several.
    static var headings: [String] { get }
    /// One row under ``headings``.
    var cells: [String] { get }
    /// Names and values of the one; headings and cells unless an answer has more to say.
    var details: [(String, String)] { get }
}

extension Renderable {
    var details: [(String, String)] { Array(zip(Self.headings, self.cells)) }
}

/// Prints answers the way `--output` asks for, in one write.
struct Renderer {
    private let console: Console
    private let format: OutputFormat

    init(_ console: Console, _ format: OutputFormat) {
        self.console = console
        self.format = format
    }

    /// Prints one answer: a JSON object, or two columns of name and value.
    func show<Answer: Renderable>(_ answer: Answer) throws {
        switch self.format {
        case .table:
            self.console.data(TextTable(nil, rows: answer.details.map { [$0.0, $0.1] }).text)
        case .json:
            self.console.data(try Self.json(answer, indented: true))
        case .ndjson:
            self.console.data(try Self.json(answer, indented: false))
        }
    }

    /// Prints a list: a JSON array, one object a line, or a table with headings. An empty list is an empty array, no
    /// line at all, or the headings alone.
    func show<Answer: Renderable>(_ answers: [Answer]) throws {
        switch self.format {
        case .table:
            self.console.data(TextTable(Answer.headings, rows: answers.map(\.cells)).text)
        case .json:
            self.console.data(try Self.json(answers, indented: true))
        case .ndjson:
            self.console.data(try answers.map { try Self.json($0, indented: false) + "\n" }.joined())
        }
    }

    /// Prints one answer that people read as several tables, an empty line between them: in JSON, one object.
    func show(_ answer: some Encodable, tables: @autoclosure () -> [TextTable]) throws {
        switch self.format {
        case .table: self.console.data(tables().map(\.text).joined(separator: "\n"))
        case .json: self.console.data(try Self.json(answer, indented: true))
        case .ndjson: self.console.data(try Self.json(answer, indented: false))
        }
    }

    /// Prints statements that would run: a script, a JSON array of strings, or one JSON string a line.
    func show(statements: [String]) throws {
        switch self.format {
        case .table:
            self.console.data(statements.map { $0.hasSuffix(";") ? $0 + "\n" : $0 + ";\n" }.joined())
        case .json:
            self.console.data(try Self.json(statements, indented: true))
        case .ndjson:
            self.console.data(try statements.map { try Self.json($0, indented: false) + "\n" }.joined())
        }
    }

    /// JSON with sorted keys, so that the same answer is always the same text.
    static func json(_ value: some Encodable, indented: Bool) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        if indented { encoder.outputFormatting.insert(.prettyPrinted) }
        encoder.dateEncodingStrategy = .iso8601
        return Self.escaped(String(decoding: try encoder.encode(value), as: UTF8.self))
    }

    /// JSON in which what a terminal would take for a command, or what turns the direction of text, is `\u` and its number. The
    /// encoder leaves such characters as they are, in strings only; those below the blank it has escaped, or they set the lines.
    private static func escaped(_ json: String) -> String {
        guard json.unicodeScalars.contains(where: { $0.value >= 0x7F && $0.isUnprintable }) else { return json }
        let digits = Array("0123456789abcdef".unicodeScalars)
        var text = String.UnicodeScalarView()
        for scalar in json.unicodeScalars {
            guard scalar.value >= 0x7F, scalar.isUnprintable else {
                text.append(scalar)
                continue
            }
            for unit in UTF16.encode(scalar) ?? UTF16.encodedReplacementCharacter {
                text.append(contentsOf: "\\u".unicodeScalars)
                for shift in [12, 8, 4, 0] {
                    text.append(digits[Int(clamping: unit >> shift & 15)])
                }
            }
        }
        return String(text)
    }
}
