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

    /// - Throws: ``MigrationError`` with everything that is wrong with the file in ``MigrationError/complaints``.
    package func parse(_ contents: [UInt8]) throws(MigrationError) -> Migration {
        let (version, title, lane) = try self.nameParts()
        let text: MigrationText
        do throws(SQLTextError) {
            text = try MigrationText(contents, dialect: lane.dialect)
        } catch {
            throw self.refusal([error])
        }
        let sections = MigrationSections(text, dialect: lane.dialect)
        var complaints = sections.complaints
        func pieces(_ section: MigrationSections.Section?) -> [SQLSplitter.Piece] {
            guard let section else { return [] }
            let (pieces, refused) = SQLSplitter.pieces(of: sections.scanner(section))
            complaints += refused
            return pieces
        }
        let (up, down, verify) = (pieces(sections.up), pieces(sections.down), pieces(sections.verify))
        if let section = sections.up, up.isEmpty, complaints.isEmpty {
            complaints.append(SQLTextError(reason: "the section has no statement", line: section.line))
        }
        complaints += self.faults(up: up, down: down, verify: verify, sections: sections)
        if complaints.isEmpty, let unfinished = text.unfinished { complaints.append(unfinished) }
        guard complaints.isEmpty else { throw self.refusal(complaints) }
        return Migration(
            version: version, title: title, lane: lane, up: up.map(\.statement), down: down.map(\.statement),
            verify: verify.map(\.statement), isTransactional: sections.noTransactionLine == nil,
            canonicalChecksum: text.canonicalChecksum, rawChecksum: text.rawChecksum,
            indexChange: sections.noTransactionLine == nil ? nil : up.first.flatMap { Self.indexChange($0.tokens) })
    }

    private func refusal(_ complaints: [SQLTextError]) -> MigrationError {
        MigrationError(
            .invalidFile,
            complaints: complaints.sorted { $0.line < $1.line }.map {
                MigrationComplaint(file: self.fileName, line: $0.line, reason: $0.reason)
            })
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
        MigrationError(
            .invalidFile,
            complaints: [MigrationComplaint(file: self.fileName, line: nil, reason: "the file name " + reason)])
    }

    private func faults(
        up: [SQLSplitter.Piece], down: [SQLSplitter.Piece], verify: [SQLSplitter.Piece], sections: MigrationSections
    ) -> [SQLTextError] {
        var faults = verify.filter { !["select", "with", "values"].contains($0.tokens.first?.word) }.map {
            SQLTextError(reason: "a verify section holds queries only", line: $0.statement.line)
        }
        guard let line = sections.noTransactionLine else {
            return faults
                + (up + down).filter { SQLRefusal.needsNoTransaction($0.tokens) }.map {
                    SQLTextError(
                        reason:
                            "the statement can't run in a transaction; give it a file with `-- migrate:no-transaction`",
                        line: $0.statement.line)
                }
        }
        if up.count > 1 || down.count > 1 {
            faults.append(SQLTextError(reason: "a no-transaction migration is exactly one statement", line: line))
        }
        if let first = up.first {
            let words = first.tokens.compactMap(\.word)
            if words.contains("concurrently"), words.contains("index"), ["create", "drop"].contains(words.first),
                Self.indexChange(first.tokens) == nil
            {
                faults.append(
                    SQLTextError(
                        reason: "name one index, without a schema, so that a broken-off build can be found",
                        line: first.statement.line))
            }
        }
        return faults
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
