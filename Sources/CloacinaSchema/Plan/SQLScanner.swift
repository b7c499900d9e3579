/// Which lexical rules a text follows.
package enum SQLDialect: Sendable, Hashable {
    case postgres
    case sqlite
}

/// Why a text can't be read as SQL statements.
package struct SQLTextError: Error, Hashable {
    package let reason: String
    package let line: Int
}

/// Reads SQL text token by token, following PostgreSQL's own lexer (`scan.l`) with standard-conforming strings.
///
/// Comments and white space produce no token. It knows no grammar: that is ``SQLSplitter``'s part.
struct SQLScanner {
    enum Kind: Hashable {
        /// An unquoted word, in ASCII lower case.
        case word(String)
        /// A quoted identifier, unquoted.
        case identifier(String)
        case literal
        case number
        case symbol(UInt8)
    }

    struct Token: Hashable {
        let kind: Kind
        let start: Int
        let end: Int
        let line: Int

        var word: String? {
            if case .word(let word) = kind { word } else { nil }
        }

        /// True for what reaches the server byte by byte: a string, or a name between quotes.
        var isQuoted: Bool {
            switch kind {
            case .literal, .identifier: true
            default: false
            }
        }

        /// What an unquoted or quoted name says.
        var name: String? {
            switch kind {
            case .word(let name), .identifier(let name): name
            default: nil
            }
        }
    }

    /// A line comment that has its line to itself, and that a marker could be.
    struct LineComment: Hashable {
        let start: Int
        let end: Int
        let line: Int
    }

    let bytes: [UInt8]
    let dialect: SQLDialect
    /// The line comments passed so far.
    private(set) var lineComments: [LineComment] = []
    private let end: Int
    private var position: Int
    private var line: Int

    init(_ text: String, dialect: SQLDialect, firstLine: Int = 1) {
        let bytes = Array(text.utf8)
        self.init(bytes, range: bytes.indices, dialect: dialect, firstLine: firstLine)
    }

    /// Reads a part of a text; tokens tell their places in the whole.
    init(_ bytes: [UInt8], range: Range<Int>, dialect: SQLDialect, firstLine: Int = 1) {
        self.bytes = bytes
        self.dialect = dialect
        self.position = range.lowerBound
        self.end = range.upperBound
        self.line = firstLine
    }

    mutating func next() throws(SQLTextError) -> Token? {
        try self.skipBlanks()
        guard let byte = self.peek() else { return nil }
        let start = self.position
        let startLine = self.line
        let kind = try self.scan(byte)
        return Token(kind: kind, start: start, end: self.position, line: startLine)
    }

    /// Passes over the rest of the line.
    mutating func skipLine() {
        while let byte = self.peek(), !Self.isLineEnd(byte) { self.advance() }
    }

    /// Passes over the lines that psql would send as data, to the one that says `\.`; stays where it is if there is none.
    mutating func skipCopyData() {
        var ahead = self
        while ahead.peek() != nil {
            ahead.skipLine()
            while let byte = ahead.peek(), Self.isLineEnd(byte) { ahead.advance() }
            let rest = ahead.bytes[ahead.position..<ahead.end]
            if rest.starts(with: [UInt8(ascii: "\\"), UInt8(ascii: ".")]) {
                ahead.skipLine()
                self = ahead
                return
            }
        }
    }

    /// True before a backslash, which only means something to psql.
    var isAtBackslash: Bool { self.peek() == UInt8(ascii: "\\") }

    /// The character of its line that a byte begins, counted from 1.
    func column(of start: Int) -> Int {
        let line = self.bytes[..<start].lastIndex(where: Self.isLineEnd).map { $0 + 1 } ?? 0
        return String(decoding: self.bytes[line..<start], as: UTF8.self).unicodeScalars.count + 1
    }

    func text(from start: Int, to end: Int) -> String {
        String(decoding: self.bytes[start..<end], as: UTF8.self)
    }

    private mutating func scan(_ byte: UInt8) throws(SQLTextError) -> Kind {
        switch byte {
        case UInt8(ascii: "'"):
            try self.skipString(backslashEscapes: false)
            return .literal
        case UInt8(ascii: "\""):
            return .identifier(try self.quoted(closing: byte))
        case UInt8(ascii: "`") where self.dialect == .sqlite:
            return .identifier(try self.quoted(closing: byte))
        case UInt8(ascii: "[") where self.dialect == .sqlite:
            return .identifier(try self.quoted(closing: UInt8(ascii: "]")))
        case UInt8(ascii: "$") where self.dialect == .postgres:
            return try self.scanDollar()
        case UInt8(ascii: "\\"):
            throw SQLTextError(
                reason: "a backslash outside a string: psql commands don't work in a migration", line: self.line)
        case _ where Self.startsWord(byte):
            return try self.scanWord()
        case _ where Self.isDigit(byte):
            while let next = self.peek(), Self.isDigit(next) || Self.isLetter(next) || next == UInt8(ascii: ".") {
                self.advance()
            }
            return .number
        default:
            self.advance()
            return .symbol(byte)
        }
    }

    private mutating func scanWord() throws(SQLTextError) -> Kind {
        let start = self.position
        while let next = self.peek(), Self.startsWord(next) || Self.isDigit(next) || next == UInt8(ascii: "$") {
            self.advance()
        }
        let word = String(decoding: self.bytes[start..<self.position].map(Self.lowercased), as: UTF8.self)
        if word == "e", self.dialect == .postgres, self.peek() == UInt8(ascii: "'") {
            try self.skipString(backslashEscapes: true)
            return .literal
        }
        if word == "u", self.dialect == .postgres, self.bytes[self.position...].starts(with: "&\"".utf8) {
            self.advance()
            let name = try self.quoted(closing: UInt8(ascii: "\""))
            let escape = try self.takeEscape() ?? "\\"
            return .identifier(UnicodeEscapes.decode(name, escape: escape) ?? name)
        }
        return .word(word)
    }

    /// Passes over `UESCAPE '!'`, which names another character than the backslash; nil when it isn't there.
    private mutating func takeEscape() throws(SQLTextError) -> Unicode.Scalar? {
        var ahead = self
        guard let word = try ahead.next(), word.word == "uescape", let literal = try ahead.next(),
            case .literal = literal.kind
        else { return nil }
        self = ahead
        return self.text(from: literal.start, to: literal.end).unicodeScalars.dropFirst().first
    }

    /// A dollar-quoted string, a parameter, or a lone dollar sign.
    private mutating func scanDollar() throws(SQLTextError) -> Kind {
        let startLine = self.line
        var end = self.position + 1
        if end < self.end, Self.isDigit(self.bytes[end]) {
            while end < self.end, Self.isDigit(self.bytes[end]) { end += 1 }
            self.position = end
            return .number
        }
        while end < self.end,
            Self.startsWord(self.bytes[end]) || (end > self.position + 1 && Self.isDigit(self.bytes[end]))
        {
            end += 1
        }
        guard end < self.end, self.bytes[end] == UInt8(ascii: "$") else {
            self.advance()
            return .symbol(UInt8(ascii: "$"))
        }
        let tag = self.bytes[self.position...end]
        while self.position <= end { self.advance() }
        while self.position < self.end {
            if self.bytes[self.position] == UInt8(ascii: "$"), self.bytes[self.position..<self.end].starts(with: tag) {
                self.position += tag.count
                return .literal
            }
            self.advance()
        }
        throw SQLTextError(
            reason: "the string that begins with \(String(decoding: tag, as: UTF8.self)) doesn't end", line: startLine)
    }

    private mutating func quoted(closing: UInt8) throws(SQLTextError) -> String {
        let startLine = self.line
        var name: [UInt8] = []
        self.advance()
        while let byte = self.peek() {
            self.advance()
            if byte == closing {
                guard self.peek() == closing, closing != UInt8(ascii: "]") else {
                    return String(decoding: name, as: UTF8.self)
                }
                self.advance()
            }
            name.append(byte)
        }
        throw SQLTextError(reason: "the quoted identifier doesn't end", line: startLine)
    }

    private mutating func skipString(backslashEscapes: Bool) throws(SQLTextError) {
        let startLine = self.line
        self.advance()
        while let byte = self.peek() {
            self.advance()
            if byte == UInt8(ascii: "\\"), backslashEscapes, self.peek() != nil {
                self.advance()
            } else if byte == UInt8(ascii: "'") {
                if self.peek() == UInt8(ascii: "'") {
                    self.advance()
                } else if let next = self.continuation() {
                    while self.position < next { self.advance() }
                } else {
                    return
                }
            }
        }
        throw SQLTextError(reason: "the string doesn't end", line: startLine)
    }

    /// Where a string goes on after its closing quote: `'a'` and `'b'` on two lines are one string, of the first's kind.
    private func continuation() -> Int? {
        guard self.dialect == .postgres else { return nil }
        var index = self.position
        var sawNewline = false
        while index < self.end {
            if Self.isBlank(self.bytes[index]) {
                sawNewline = sawNewline || Self.isLineEnd(self.bytes[index])
                index += 1
            } else if self.bytes[index..<self.end].starts(with: "--".utf8) {
                while index < self.end, !Self.isLineEnd(self.bytes[index]) { index += 1 }
            } else {
                return sawNewline && self.bytes[index] == UInt8(ascii: "'") ? index + 1 : nil
            }
        }
        return nil
    }

    private mutating func skipBlanks() throws(SQLTextError) {
        while let byte = self.peek() {
            if Self.isBlank(byte) {
                self.advance()
            } else if self.bytes[self.position..<self.end].starts(with: "--".utf8) {
                self.skipLineComment()
            } else if self.bytes[self.position..<self.end].starts(with: "/*".utf8) {
                try self.skipBlockComment()
            } else {
                return
            }
        }
    }

    private mutating func skipLineComment() {
        let start = self.position
        self.skipLine()
        guard self.hasLineToItself(start) else { return }
        self.lineComments.append(LineComment(start: start, end: self.position, line: self.line))
    }

    private func hasLineToItself(_ start: Int) -> Bool {
        let before = self.bytes[..<start].last { !Self.isBlank($0) || Self.isLineEnd($0) }
        return before.map(Self.isLineEnd) ?? true
    }

    private mutating func skipBlockComment() throws(SQLTextError) {
        let startLine = self.line
        var depth = 0
        while self.position < self.end {
            if self.bytes[self.position..<self.end].starts(with: "/*".utf8), depth == 0 || self.dialect == .postgres {
                depth += 1
                self.position += 2
            } else if self.bytes[self.position..<self.end].starts(with: "*/".utf8) {
                depth -= 1
                self.position += 2
                if depth == 0 { return }
            } else {
                self.advance()
            }
        }
        throw SQLTextError(reason: "the block comment doesn't end", line: startLine)
    }

    private func peek() -> UInt8? {
        self.position < self.end ? self.bytes[self.position] : nil
    }

    private mutating func advance() {
        let byte = self.bytes[self.position]
        // CR LF is one line end.
        if byte == UInt8(ascii: "\r")
            || (byte == UInt8(ascii: "\n")
                && (self.position == 0 || self.bytes[self.position - 1] != UInt8(ascii: "\r")))
        {
            self.line += 1
        }
        self.position += 1
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(lowercased(byte))
    }

    private static func startsWord(_ byte: UInt8) -> Bool {
        isLetter(byte) || byte == UInt8(ascii: "_") || byte >= 0x80
    }

    static func isLineEnd(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r")
    }

    static func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || (9...13).contains(byte)
    }

    private static func lowercased(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
    }
}
