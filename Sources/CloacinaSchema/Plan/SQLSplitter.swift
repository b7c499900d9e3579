/// One statement of a migration file, without its semicolon.
public struct SQLStatement: Sendable, Hashable {
    /// The statement's text, byte by byte as the file has it.
    public let text: String
    /// The line of the file it begins on, counted from 1.
    public let line: Int
    /// The character of that line it begins at, counted from 1.
    public let column: Int
    /// Every name that occurs in it; tells which relations a statement that waits for a lock may be after.
    package let names: Set<String>

    package init(text: String, line: Int, column: Int = 1, names: Set<String> = []) {
        self.text = text
        self.line = line
        self.column = column
        self.names = names
    }

    /// Line and column of a character of the statement, counted from 1 as the server counts.
    package func place(of position: Int) -> (line: Int, column: Int) {
        var (line, column) = (self.line, self.column)
        // A scalar is what the server counts as a character; CR LF is two of them and one line end.
        var previous: Unicode.Scalar?
        for scalar in self.text.unicodeScalars.prefix(max(position, 1) - 1) {
            if scalar == "\r" || (scalar == "\n" && previous != "\r") {
                line += 1
                column = 1
            } else if scalar != "\n" {
                column += 1
            }
            previous = scalar
        }
        return (line, column)
    }
}

/// Cuts SQL text into statements at the semicolons that end one.
///
/// Those inside strings, comments, `BEGIN ATOMIC` bodies, `CREATE RULE … DO (…; …)` and SQLite's triggers don't.
/// Statements that can't be part of a migration are refused, see ``SQLRefusal``.
package struct SQLSplitter {
    private var scanner: SQLScanner
    private var tokens: [SQLScanner.Token] = []
    private var openParentheses: [Int] = []
    private var bodyDepth = 0

    private init(scanner: SQLScanner) {
        self.scanner = scanner
    }

    package static func split(
        _ text: String, dialect: SQLDialect = .postgres, firstLine: Int = 1
    ) throws(SQLTextError) -> [SQLStatement] {
        let scanner = SQLScanner(text, dialect: dialect, firstLine: firstLine)
        let (pieces, complaints) = self.pieces(of: scanner)
        if let complaint = complaints.first { throw complaint }
        return pieces.map(\.statement)
    }

    /// A statement with its tokens, for whoever looks closer.
    struct Piece {
        let statement: SQLStatement
        let tokens: [SQLScanner.Token]
    }

    /// The statements of a text, and everything in it that can't be one.
    static func pieces(of scanner: SQLScanner) -> (pieces: [Piece], complaints: [SQLTextError]) {
        var splitter = SQLSplitter(scanner: scanner)
        var pieces: [Piece] = []
        var complaints: [SQLTextError] = []
        while true {
            do throws(SQLTextError) {
                guard let piece = try splitter.nextPiece() else { break }
                pieces.append(piece)
            } catch {
                complaints.append(error)
                splitter.resume()
            }
        }
        return (pieces, complaints)
    }

    /// Goes on behind what was complained of: psql's commands take their line, `COPY FROM STDIN` its data.
    private mutating func resume() {
        if self.scanner.isAtBackslash { self.scanner.skipLine() }
        if self.tokens.first?.word == "copy", self.tokens.contains(where: { $0.word == "stdin" }) {
            self.scanner.skipCopyData()
        }
    }

    private mutating func nextPiece() throws(SQLTextError) -> Piece? {
        self.tokens = []
        self.openParentheses = []
        self.bodyDepth = 0
        while let token = try self.scanner.next() {
            if case .symbol(UInt8(ascii: ";")) = token.kind, try self.endsStatement(token) {
                if self.tokens.isEmpty { continue }
                return try self.finish()
            }
            self.track(token)
            if case .symbol(UInt8(ascii: ")")) = token.kind, self.openParentheses.popLast() == nil {
                throw SQLTextError(reason: "a closing parenthesis that nothing opened", line: token.line)
            }
            self.tokens.append(token)
        }
        return self.tokens.isEmpty ? nil : try self.finish()
    }

    private func endsStatement(_ semicolon: SQLScanner.Token) throws(SQLTextError) -> Bool {
        if let opened = self.openParentheses.last {
            guard self.bodyDepth > 0 || self.creates(["rule"]) else {
                throw SQLTextError(
                    reason: "a semicolon inside the parenthesis opened on line \(opened)", line: semicolon.line)
            }
            return false
        }
        return self.bodyDepth == 0
    }

    private mutating func track(_ token: SQLScanner.Token) {
        if case .symbol(UInt8(ascii: "(")) = token.kind { self.openParentheses.append(token.line) }
        guard self.openParentheses.isEmpty, let word = token.word else { return }
        if self.bodyDepth > 0 {
            // After AS or a dot any keyword is just a name.
            if let last = self.tokens.last, last.word == "as" || last.kind == .symbol(UInt8(ascii: ".")) { return }
            if word == "case" { self.bodyDepth += 1 }
            if word == "end" { self.bodyDepth -= 1 }
        } else if self.scanner.dialect == .sqlite, word == "begin", self.creates(["trigger"]) {
            self.bodyDepth = 1
        } else if word == "atomic", self.tokens.last?.word == "begin", self.creates(["function", "procedure"]) {
            self.bodyDepth = 1
        }
    }

    /// Whether the statement so far is `CREATE [OR REPLACE] [TEMP] …` one of these kinds.
    private func creates(_ kinds: Set<String>) -> Bool {
        guard self.tokens.first?.word == "create" else { return false }
        let kind = self.tokens.dropFirst().first { !["or", "replace", "temp", "temporary"].contains($0.word ?? "") }
        return kind?.word.map(kinds.contains) ?? false
    }

    private func finish() throws(SQLTextError) -> Piece {
        let first = self.tokens[0]
        let last = self.tokens[self.tokens.count - 1]
        if let opened = self.openParentheses.last {
            throw SQLTextError(reason: "the parenthesis opened here isn't closed", line: opened)
        }
        if self.bodyDepth > 0 {
            throw SQLTextError(reason: "the body of the statement that begins here has no END", line: first.line)
        }
        if let refusal = SQLRefusal.reason(for: self.tokens, dialect: self.scanner.dialect) {
            throw SQLTextError(reason: refusal, line: first.line)
        }
        return Piece(
            statement: SQLStatement(
                text: self.scanner.text(from: first.start, to: last.end), line: first.line,
                column: self.scanner.column(of: first.start), names: Set(self.tokens.compactMap(\.name))),
            tokens: self.tokens)
    }
}
