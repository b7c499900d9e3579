/// Reads the sections of a migration file.
///
///     -- What this changes, and why.
///     -- migrate:up
///     CREATE TABLE …;
///     -- migrate:verify
///     SELECT count(*) = 1 FROM …;
///     -- migrate:down
///     DROP TABLE …;
///
/// `-- migrate:no-transaction`, in place of `up` or beside it, is for the one statement that can't run in a transaction.
package struct MigrationParser {
    /// The widest title the history has room for.
    package static let maximumTitleLength = 64

    let fileName: String

    package init(fileName: String) {
        self.fileName = fileName
    }

    package func parse(_ contents: [UInt8]) throws(MigrationError) -> Migration {
        let (version, title, lane) = try self.nameParts()
        do throws(SQLTextError) {
            let text = try MigrationText(contents)
            let sections = try Sections(text.normalized)
            guard let upSection = sections.up else {
                throw SQLTextError(reason: "no `-- migrate:up` section", line: 1)
            }
            let up = try self.pieces(upSection, lane: lane)
            guard !up.isEmpty else { throw SQLTextError(reason: "the section has no statement", line: upSection.line) }
            let down = try self.pieces(sections.down, lane: lane)
            let verify = try self.pieces(sections.verify, lane: lane)
            try self.check(up: up, down: down, verify: verify, sections: sections)
            return Migration(
                version: version, title: title, lane: lane, up: up.map(\.statement), down: down.map(\.statement),
                verify: verify.map(\.statement), isTransactional: sections.noTransactionLine == nil,
                canonicalChecksum: text.canonicalChecksum, rawChecksum: text.rawChecksum,
                indexChange: sections.noTransactionLine == nil ? nil : Self.indexChange(up[0].tokens))
        } catch {
            throw MigrationError(.invalidFile, file: self.fileName, line: error.line, reason: error.reason)
        }
    }

    private func nameParts() throws(MigrationError) -> (Int, String, MigrationLane) {
        let parts = self.fileName.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[2] == "sql", let lane = MigrationLane(rawValue: String(parts[1])) else {
            throw self.invalidName("isn't NNNN_title.(control|tenant|sqlite).sql")
        }
        let digits = parts[0].prefix(4)
        let title = parts[0].dropFirst(5)
        guard digits.count == 4, digits.utf8.allSatisfy({ (48...57).contains($0) }), let version = Int(digits),
            parts[0].dropFirst(4).first == "_"
        else { throw self.invalidName("doesn't begin with four digits and an underscore") }
        guard version > 0 else { throw self.invalidName("has version 0; versions begin at 1") }
        let words = title.split(separator: "_", omittingEmptySubsequences: false)
        let isLowerCase = title.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 95 }
        guard isLowerCase, words.allSatisfy({ !$0.isEmpty }), title.utf8.count <= Self.maximumTitleLength else {
            throw self.invalidName(
                "needs a title of lower-case words joined by `_`, at most \(Self.maximumTitleLength) bytes")
        }
        return (version, String(title), lane)
    }

    private func invalidName(_ reason: String) -> MigrationError {
        MigrationError(.invalidFile, file: self.fileName, reason: "the file name " + reason)
    }

    private func pieces(_ section: Section?, lane: MigrationLane) throws(SQLTextError) -> [SQLSplitter.Piece] {
        guard let section else { return [] }
        return try SQLSplitter.pieces(of: section.text, dialect: lane.dialect, firstLine: section.line + 1)
    }

    private func check(
        up: [SQLSplitter.Piece], down: [SQLSplitter.Piece], verify: [SQLSplitter.Piece], sections: Sections
    ) throws(SQLTextError) {
        for query in verify where !["select", "with", "values"].contains(query.tokens.first?.word) {
            throw SQLTextError(reason: "a verify section holds queries only", line: query.statement.line)
        }
        if let line = sections.noTransactionLine {
            guard up.count == 1, down.count <= 1 else {
                throw SQLTextError(reason: "a no-transaction migration is exactly one statement", line: line)
            }
            let words = up[0].tokens.compactMap(\.word)
            if words.contains("concurrently"), words.contains("index"), ["create", "drop"].contains(words[0]),
                Self.indexChange(up[0].tokens) == nil
            {
                throw SQLTextError(
                    reason: "name one index, without a schema, so that a broken-off build can be found",
                    line: up[0].statement.line)
            }
        } else if let piece = (up + down).first(where: { SQLRefusal.needsNoTransaction($0.tokens) }) {
            throw SQLTextError(
                reason: "the statement can't run in a transaction; give it a file with `-- migrate:no-transaction`",
                line: piece.statement.line)
        }
    }

    /// The index that `CREATE|DROP INDEX CONCURRENTLY` names.
    private static func indexChange(_ tokens: [SQLScanner.Token]) -> Migration.IndexChange? {
        let skipped: Set<String> = ["unique", "index", "concurrently", "if", "not", "exists"]
        guard let verb = tokens.first?.word, tokens.contains(where: { $0.word == "concurrently" }) else { return nil }
        let rest = tokens.dropFirst().drop { skipped.contains($0.word ?? "") }
        guard let name = rest.first?.name else { return nil }
        switch (verb, rest.dropFirst().first?.word) {
        case ("create", "on") where rest.first?.word != "on": return .create(name)
        case ("drop", nil) where rest.count == 1: return .drop(name)
        case ("drop", "cascade"), ("drop", "restrict"): return .drop(name)
        default: return nil
        }
    }
}

private struct Section {
    var text = ""
    let line: Int
}

/// The file cut at its marker lines.
private struct Sections {
    private(set) var up: Section?
    private(set) var down: Section?
    private(set) var verify: Section?
    private(set) var noTransactionLine: Int?
    private var current: Marker?

    private enum Marker: String, CaseIterable {
        case up
        case down
        case verify
        case noTransaction = "no-transaction"

        static var list: String { allCases.map(\.rawValue).joined(separator: ", ") }
    }

    init(_ text: String) throws(SQLTextError) {
        var number = 0
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            number += 1
            if let marker = try Self.marker(line, number: number) {
                try self.open(marker, number: number)
            } else {
                try self.append(line, number: number)
            }
        }
    }

    private mutating func open(_ marker: Marker, number: Int) throws(SQLTextError) {
        let repeated = SQLTextError(reason: "a second `-- migrate:\(marker.rawValue)`", line: number)
        switch marker {
        case .up:
            guard self.up == nil || (self.noTransactionLine == self.up?.line && self.isBlank(self.up)) else {
                throw repeated
            }
            self.up = Section(line: number)
        case .down:
            guard self.down == nil else { throw repeated }
            self.down = Section(line: number)
        case .verify:
            guard self.verify == nil else { throw repeated }
            self.verify = Section(line: number)
        case .noTransaction:
            guard self.noTransactionLine == nil else { throw repeated }
            guard self.current == nil || (self.current == .up && self.isBlank(self.up)) else {
                throw SQLTextError(
                    reason: "`-- migrate:no-transaction` comes before the statement it is about", line: number)
            }
            self.noTransactionLine = number
            self.up = Section(line: number)
        }
        self.current = marker == .noTransaction ? .up : marker
    }

    private mutating func append(_ line: Substring, number: Int) throws(SQLTextError) {
        switch self.current {
        case .up, .noTransaction: self.up?.text += line + "\n"
        case .down: self.down?.text += line + "\n"
        case .verify: self.verify?.text += line + "\n"
        case nil:
            let trimmed = line.trimmingBlanks()
            guard trimmed.isEmpty || trimmed.hasPrefix("--") else {
                throw SQLTextError(
                    reason: "only comment lines may come before the first `-- migrate:` line", line: number)
            }
        }
    }

    private func isBlank(_ section: Section?) -> Bool {
        (section?.text ?? "").split(separator: "\n").allSatisfy {
            let trimmed = $0.trimmingBlanks()
            return trimmed.isEmpty || trimmed.hasPrefix("--")
        }
    }

    /// The marker a line is; throws on one that is nearly a marker, which would otherwise be a harmless comment.
    private static func marker(_ line: Substring, number: Int) throws(SQLTextError) -> Marker? {
        let trimmed = line.trimmingBlanks()
        guard trimmed.hasPrefix("--") else { return nil }
        let comment = trimmed.dropFirst(2).trimmingBlanks()
        if comment.hasPrefix("migrate:") {
            guard let marker = Marker(rawValue: String(comment.dropFirst("migrate:".count))) else {
                throw SQLTextError(reason: "`-- migrate:` is followed by none of \(Marker.list)", line: number)
            }
            return marker
        }
        let words = comment.lowercased().drop { !$0.isLetter }
        guard words.hasPrefix("migrate") else { return nil }
        let name = words.dropFirst("migrate".count).drop { !$0.isLetter }.trimmingBlanks()
        if Marker(rawValue: String(name)) != nil {
            throw SQLTextError(reason: "write `-- migrate:\(name)` exactly so", line: number)
        }
        return nil
    }
}

extension Substring {
    fileprivate func trimmingBlanks() -> Substring {
        var rest = drop(while: \.isWhitespace)
        while rest.last?.isWhitespace == true { rest.removeLast() }
        return rest
    }
}
