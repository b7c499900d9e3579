import FoundationEssentials
import Testing

/// Nothing that was read, however odd, ends the process by a conversion: one tenant's row would end it for all of them.
///
/// The lint reads text and knows no types. What it can't see to be harmless is excused by a comment, behind the code or on
/// a line of its own above it: `// can't trap: REASON`.
@Suite struct TrappingConversionLintTests {
    private static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    @Test(arguments: ["Sources", "admin", "Examples", "migrations"])
    func noConversionTraps(folder: String) throws {
        let directory = Self.root.appending(path: folder)
        let paths = try FileManager.default.subpathsOfDirectory(atPath: directory.path)
            .filter { $0.hasSuffix(".swift") }.sorted()
        try #require(!paths.isEmpty, "\(folder) has no Swift files: the lint looks in the wrong place")
        for path in paths {
            let bytes = try #require(FileManager.default.contents(atPath: directory.appending(path: path).path))
            for finding in TrapLint(String(decoding: bytes, as: UTF8.self)).findings {
                Issue.record("\(folder)/\(path):\(finding.line): \(finding.complaint)")
            }
        }
    }

    @Test(arguments: [
        "let a = Int(row.b)", "Int32($0.attempt)", "UInt16(port)", "Int128(a)", "CInt(a)", "Swift.Int(a)",
        "Int.init(a)",
        "rows.map(Int.init)", "rows.map(Int32.init)", "numericCast(a)", "Int(-a)", "Int(a.count)", "Int(a + 1)",
        "let text = \"VALUES (\\(Int32(position)))\"", "let text = #\"\\#(Int(a))\"#",
        "let text = \"\"\"\n    \"a\" \\(b(\"c\", Int(a)))\n    \"\"\"",
        "Int(\n    a\n)", "Int(date.timeIntervalSince1970 * 1_000)", "Int((a * 10).rounded())",
        "let b = Int(a), c = 1", "let a = 1, b = Int(c)", "let b = c ? Int(a) : nil", "rows.compactMap { Int($0) }",
        "if let b = table[Int(a)] {", "guard let b = Int(a) + c else", "b ?? Int(a)", "Int(a) == b", "Int(b ?? 0)",
        "Duration.seconds(delay)", "sleep(for: .milliseconds(a * 2))", "Duration\n    .microseconds(a)",
        ".nanoseconds(-a)",
        "try! f()", "a as! B", "fatalError()", "fatalError(\"text\")", "f()!", "a[0]!", "a!.b", "g { 1 }!", "(a as B)!",
        "\"\\(a!)\"", "var a: Int!",
        "Int(a)  // can't trap", "Int(a)  // can't trap:", "Int(a)  // can't trap: too short",
        "Int(a)  // Can't it trap? No.",
        "Int(a)  /* can't trap: a comment of this kind is none */", "let text = \"// can't trap: only text\"; Int(a)",
        "// can't trap: two lines further down\n\nlet b = 1\nInt(a)",
    ])
    func whatMayTrapIsFound(code: String) {
        #expect(!TrapLint(code).findings.isEmpty)
    }

    @Test(arguments: [
        "Int(exactly: a)", "Int32(clamping: a)", "Int16(truncatingIfNeeded: a)", "UInt32(bitPattern: a)",
        "UInt8(ascii: \"a\")",
        "UInt16(bigEndian: a)", "Int(\n    exactly: a)", "Int(text, radix: 16)", "Int(\"1\")", "Int.init(exactly: a)",
        "Int(text) ?? 0", "Int(text)\n    ?? 0", "Int(text)?.description", "guard let b = Int(a) else { return nil }",
        "if let b = Int(a), b > 0 {", "guard c, let b = Int(a) else", "guard c,\n    let b: Int = Int(a),\n    b > 0",
        "while let b = unsafe Int(a) {", "text.flatMap(Int.init)", "texts.compactMap(Int.init)",
        "rows.map(Int.init(clamping:))", "rows.flatMap(Int.init(exactly:))", "Int()", "Int(4)", "Int64(-1)",
        "UInt32(0x7f00_0001).bigEndian", "[Int](repeating: 0, count: n)", "row.value(\"a\", as: Int.self)", "MyInt(a)",
        "Integer(a)", "case integer(Int)", "func f(a: Int) -> Int", "Int.max", "Int.random(in: a)", "a.int32(b)",
        "// Int(a)", "/// Int(a)", "/* Int(a) /* b */ c as! D\n */", "\"Int(a)\"", "\"\\\\(Int(a))\"",
        "#\"\\(Int(a))\"#",
        "\"\"\"\n    \"Int(a)\" try! f()\n    \"\"\"", "\"\\(\"Int(a)\")\"", "\"\" + \"a!\"", "\"\\\"Int(a)\"",
        "Duration.seconds(30)", ".milliseconds(500)", ".seconds(365 * 86_400)", ".seconds(0.5)", "a.seconds",
        "seconds(a)",
        "try f()", "try? f()", "a as? B", "!a", "f(!a)", "a != b", "a !== b", "#if !os(Linux)", "myfatalError()",
        "Int(a)  // can't trap: the count of a collection", "// can't trap: the count of a collection\nInt(a)",
        "// can't trap: the count of a collection,\n// which is never large\nlet b = Int(a)",
    ])
    func whatCannotTrapIsLeftAlone(code: String) {
        #expect(TrapLint(code).findings == [])
    }

    @Test func anExcuseThatNothingNeedsIsFound() {
        let lines = [
            "let a = 1  // can't trap: what it was for has gone", "// can't trap: nothing follows any more",
            "let b = 2",
            "let c = Int(b)  // can't trap: what b has always fits",
        ]
        #expect(TrapLint(lines.joined(separator: "\n")).findings.map(\.line) == [1, 2])
    }

    @Test func theLineOfTheConversionIsNamed() {
        let text = """
            let a = \"""
                \\(
                    Int32(a))
                \"""
            /*
             */
            let b = c!
            """
        #expect(TrapLint(text).findings.map(\.line) == [3, 7])
    }
}

/// What in a file's text may end the process.
private struct TrapLint {
    struct Finding: Equatable {
        let line: Int
        let complaint: String
    }

    private static let integers: Set<String> = {
        let sizes = ["", "8", "16", "32", "64", "128"]
        return Set(sizes.flatMap { ["Int" + $0, "UInt" + $0] }).union([
            "CChar", "CShort", "CInt", "CLong", "CLongLong", "CSignedChar", "CUnsignedChar", "CUnsignedShort",
            "CUnsignedInt",
            "CUnsignedLong", "CUnsignedLongLong",
        ])
    }()
    private static let units: Set<String> = ["seconds", "milliseconds", "microseconds", "nanoseconds"]
    /// The labels of the initialisers that answer to everything: `ascii` takes a literal.
    private static let harmlessLabels: Set<String> = [
        "exactly", "clamping", "truncatingIfNeeded", "bitPattern", "bigEndian", "littleEndian", "ascii",
    ]
    private static let shortestReason = 10

    private let source: SourceText
    private var code: [UInt8] { self.source.code }

    init(_ text: String) { self.source = SourceText(text) }

    /// What isn't excused, the excuses without a reason, and those that nothing needs.
    var findings: [Finding] {
        var findings: [Finding] = []
        let excuses = self.excuses
        var used: Set<Int> = []
        for (offset, complaint) in self.hits {
            let line = self.source.line(of: offset)
            if let excuse = excuses[line] {
                used.insert(line)
                if excuse.reason.count < Self.shortestReason {
                    findings.append(Finding(line: line, complaint: "the excuse gives no reason"))
                }
            } else {
                findings.append(Finding(line: line, complaint: complaint))
            }
        }
        for (line, excuse) in excuses where !used.contains(line) {
            findings.append(Finding(line: excuse.line, complaint: "nothing here needs the excuse"))
        }
        return findings.sorted { $0.line < $1.line }
    }

    /// The excuses, by the line of the code that they are for.
    private var excuses: [Int: (line: Int, reason: Substring)] {
        var excuses: [Int: (line: Int, reason: Substring)] = [:]
        for (line, comment) in self.source.comments {
            let words = comment.drop { $0 == " " }
            guard words.hasPrefix("can't trap:") else { continue }
            let place = (line...).first { $0 > self.source.lastLine || self.source.hasCode(on: $0) } ?? line
            excuses[place] = (line, words.dropFirst("can't trap:".count).drop { $0 == " " })
        }
        return excuses
    }

    // MARK: Looking

    private var hits: [(offset: Int, complaint: String)] {
        let code = self.code
        var hits: [(offset: Int, complaint: String)] = []
        var index = 0
        while index < code.count {
            if code[index].isPartOfWord {
                let begin = index
                while index < code.count, code[index].isPartOfWord { index += 1 }
                let word = String(decoding: code[begin..<index], as: UTF8.self)
                guard let complaint = self.complaint(about: word, at: begin..<index) else { continue }
                hits.append((begin, complaint))
                // What `try` and `as` are followed by is no unwrapping.
                if self.byte(index) == UInt8(ascii: "!") { index += 1 }
            } else {
                if code[index] == UInt8(ascii: "!"), self.isUnwrapping(at: index) {
                    hits.append((index, "`!` ends the process where there is nothing: bind it, or throw"))
                }
                index += 1
            }
        }
        return hits
    }

    private func complaint(about word: String, at place: Range<Int>) -> String? {
        let next = self.byte(place.upperBound)
        switch word {
        case "try", "as":
            return next == UInt8(ascii: "!") ? "`\(word)!` ends the process instead of throwing" : nil
        case "fatalError", "numericCast":
            return next == UInt8(ascii: "(") ? "`\(word)` ends the process: throw" : nil
        case _ where Self.integers.contains(word):
            return self.isHarmless(place)
                ? nil : "`\(word)(…)` may trap: say exactly:, clamping:, truncatingIfNeeded:, or why it can't"
        case _ where Self.units.contains(word) && self.byte(place.lowerBound - 1) == UInt8(ascii: "."):
            guard next == UInt8(ascii: "("), let argument = self.argument(from: place.upperBound),
                !self.isConstant(argument)
            else { return nil }
            return "`.\(word)(…)` traps on a number that isn't finite or is too large: say why this one isn't"
        default:
            return nil
        }
    }

    private func isUnwrapping(at index: Int) -> Bool {
        guard let before = self.byte(index - 1), self.byte(index + 1) != UInt8(ascii: "=") else { return false }
        return before.isPartOfWord || Array(")]}\"".utf8).contains(before)
    }

    // MARK: Conversions

    /// Whether the name of an integer's type is used in a way that can't trap.
    private func isHarmless(_ name: Range<Int>) -> Bool {
        var end = name.upperBound
        if self.text(end..<(end + 5)) == ".init", self.byte(end + 5)?.isPartOfWord != true {
            end += 5
            guard self.byte(end) == UInt8(ascii: "(") else {
                let before = self.text((name.lowerBound - 12)..<name.lowerBound)
                return before.hasSuffix("flatMap(") || before.hasSuffix("compactMap(")
            }
        }
        guard self.byte(end) == UInt8(ascii: "("), let argument = self.argument(from: end) else { return true }
        let text = self.text(argument).drop(while: \.isWhitespace)
        if let colon = text.firstIndex(of: ":"), Self.harmlessLabels.contains(String(text[..<colon])) { return true }
        if text.isEmpty || text.hasPrefix("\"") || text.contains(", radix:") || self.isConstant(argument) {
            return true
        }
        let rest = self.text((argument.upperBound + 1)..<(argument.upperBound + 80)).drop(while: \.isWhitespace)
        if rest.hasPrefix("??") || rest.hasPrefix("?.") { return true }
        return ["{", ",", "else"].contains(where: rest.hasPrefix) && self.isBound(name.lowerBound)
    }

    /// Whether what begins there is what a condition binds: the compiler has seen that it is optional.
    private func isBound(_ offset: Int) -> Bool {
        self.text((offset - 200)..<offset)
            .contains(/(?:\b(?:guard|if|while)|,)\s*(?:let|var)\s+\w+\s*(?::[^=,]+)?=\s*(?:unsafe\s+)?$/)
    }

    /// Whether there are only numbers and signs.
    private func isConstant(_ argument: Range<Int>) -> Bool {
        let words = self.code[argument].split { !$0.isPartOfWord }
        let signs = self.code[argument].filter { !$0.isPartOfWord }
        return words.allSatisfy { $0.first?.isDigit == true } && signs.allSatisfy(Array("+-*/(). \n".utf8).contains)
    }

    /// What stands between a parenthesis and the one that closes it.
    private func argument(from open: Int) -> Range<Int>? {
        var depth = 0
        for index in open..<self.code.count {
            switch self.code[index] {
            case UInt8(ascii: "("), UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
            case UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: "}"):
                depth -= 1
                if depth == 0 { return (open + 1)..<index }
            default: break
            }
        }
        return nil
    }

    private func byte(_ index: Int) -> UInt8? { self.code.indices.contains(index) ? self.code[index] : nil }

    private func text(_ range: Range<Int>) -> String {
        String(decoding: self.code[range.clamped(to: self.code.indices)], as: UTF8.self)
    }
}

/// The code of a file: what is not code, comments and the text of literals, is blank, and everything keeps its place.
private struct SourceText {
    private enum Place {
        /// Code; in an interpolation, with so many parentheses open.
        case code(open: Int)
        case literal(hashes: Int, quotes: Int)
    }

    private(set) var code: [UInt8]
    /// What follows `//`, by the line from 1.
    private(set) var comments: [Int: String] = [:]
    private var starts = [0]
    private var places = [Place.code(open: 0)]
    private var index = 0

    init(_ text: String) {
        self.code = Array(text.utf8)
        for (index, byte) in self.code.enumerated() where byte == UInt8(ascii: "\n") { self.starts.append(index + 1) }
        while self.index < self.code.count {
            switch self.places.last {
            case .literal(let hashes, let quotes): self.readLiteral(hashes, quotes)
            case .code(let open): self.readCode(open)
            case nil: return
            }
        }
    }

    var lastLine: Int { self.starts.count }

    /// The line of a byte, from 1.
    func line(of offset: Int) -> Int {
        var low = 0
        var high = self.starts.count
        while low < high {
            let middle = (low + high) / 2
            if self.starts[middle] <= offset { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func hasCode(on line: Int) -> Bool {
        let end = line < self.starts.count ? self.starts[line] - 1 : self.code.count
        return self.code[self.starts[line - 1]..<end].contains { $0 != UInt8(ascii: " ") }
    }

    // MARK: Reading

    private mutating func readCode(_ open: Int) {
        switch self.code[self.index] {
        case UInt8(ascii: "/") where self.starts(with: "//"):
            let end = self.code[self.index...].firstIndex(of: UInt8(ascii: "\n")) ?? self.code.count
            let text = String(decoding: self.code[(self.index + 2)..<end], as: UTF8.self)
            self.comments[self.line(of: self.index)] = text
            self.blank(end - self.index)
        case UInt8(ascii: "/") where self.starts(with: "/*"):
            self.blankComment()
        case UInt8(ascii: "#"), UInt8(ascii: "\""):
            let hashes = self.code[self.index...].prefix { $0 == UInt8(ascii: "#") }.count
            self.index += hashes
            guard self.starts(with: "\"") else { return }
            let quotes = self.starts(with: "\"\"\"") ? 3 : 1
            self.index += quotes
            self.places.append(.literal(hashes: hashes, quotes: quotes))
        case UInt8(ascii: "(") where open > 0:
            self.places[self.places.count - 1] = .code(open: open + 1)
            self.index += 1
        case UInt8(ascii: ")") where open > 0:
            self.places[self.places.count - 1] = .code(open: open - 1)
            if open == 1 { self.places.removeLast() }
            self.index += 1
        default:
            self.index += 1
        }
    }

    private mutating func readLiteral(_ hashes: Int, _ quotes: Int) {
        let mark = String(repeating: "#", count: hashes)
        if self.starts(with: "\\" + mark + "(") {
            self.blank(1 + hashes)
            self.index += 1
            self.places.append(.code(open: 1))
        } else if self.starts(with: "\\" + mark) {
            self.blank(2 + hashes)
        } else if self.starts(with: String(repeating: "\"", count: quotes) + mark) {
            self.index += quotes + hashes
            self.places.removeLast()
        } else {
            self.blank(1)
        }
    }

    private mutating func blankComment() {
        var depth = 0
        repeat {
            if self.starts(with: "/*") { depth += 1 }
            if self.starts(with: "*/") { depth -= 1 }
            self.blank(self.starts(with: "/*") || self.starts(with: "*/") ? 2 : 1)
        } while depth > 0 && self.index < self.code.count
    }

    private mutating func blank(_ count: Int) {
        for _ in 0..<count where self.index < self.code.count {
            if self.code[self.index] != UInt8(ascii: "\n") { self.code[self.index] = UInt8(ascii: " ") }
            self.index += 1
        }
    }

    private func starts(with text: String) -> Bool { self.code[self.index...].starts(with: text.utf8) }
}

extension UInt8 {
    fileprivate var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }

    /// Whether the byte is a letter, a digit, an underscore or of a character beyond ASCII.
    fileprivate var isPartOfWord: Bool {
        self.isDigit || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self | 0x20) || self == UInt8(ascii: "_")
            || self >= 0x80
    }
}
