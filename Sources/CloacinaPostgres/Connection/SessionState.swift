/// Recognises statements that change the session for whoever comes next.
enum SessionState {
    private static let tags: Set<String> = ["SET", "RESET", "LISTEN", "PREPARE", "DISCARD ALL", "LOAD", "DISCARD"]

    static func isChanged(by statements: [PostgresStatement], _ rows: [PostgresRows]) -> Bool {
        zip(statements, rows).contains { statement, rows in
            !rows.result.isQueryOrChange && self.isChanged(by: statement, tag: rows.commandTag)
        }
    }

    static func isChanged(by statement: PostgresStatement, tag: String) -> Bool {
        guard !statement.isTrusted, self.tags.contains(tag) else { return false }
        return !(tag == "SET" && self.isLocal(statement.sql))
    }

    /// Whether a statement's first word says that it changes the session; what is only known by its tag is found out
    /// later.
    static func wouldChange(_ statement: PostgresStatement) -> Bool {
        guard !statement.isTrusted else { return false }
        let word = statement.sql.split(maxSplits: 1, whereSeparator: { $0.isWhitespace || $0 == ";" }).first?
            .uppercased()
        guard let word, ["SET", "LISTEN", "PREPARE", "LOAD"].contains(word) else { return false }
        return !(word == "SET" && self.isLocal(statement.sql))
    }

    /// `SET LOCAL` and `SET TRANSACTION` end with their transaction.
    private static func isLocal(_ sql: String) -> Bool {
        let words = sql.split(whereSeparator: \.isWhitespace).prefix(2).map { $0.uppercased() }
        return words.count == 2 && words[0] == "SET" && ["LOCAL", "TRANSACTION", "CONSTRAINTS"].contains(words[1])
    }
}
