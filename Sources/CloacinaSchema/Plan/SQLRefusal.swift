/// Statements that would outlive the migration they are in, or only mean something to psql.
enum SQLRefusal {
    static func reason(for tokens: [SQLScanner.Token], dialect: SQLDialect) -> String? {
        guard let verb = tokens.first?.word else { return nil }
        if transactionVerbs.contains(verb) {
            return "\(verb.uppercased()): the runner begins and ends the transaction"
        }
        switch dialect {
        case .sqlite:
            guard ["attach", "detach"].contains(verb) else { return nil }
            return "\(verb.uppercased()): a migration changes one database"
        case .postgres:
            return postgresReason(verb: verb, tokens: tokens)
        }
    }

    /// Whether PostgreSQL refuses the statement inside a transaction.
    static func needsNoTransaction(_ tokens: [SQLScanner.Token]) -> Bool {
        let words = tokens.prefix(8).compactMap(\.word)
        switch words.first {
        case "vacuum": return true
        case "create", "drop", "alter": break
        case "reindex": return tokens.contains { $0.word == "concurrently" }
        default: return false
        }
        if words.count > 1, ["database", "tablespace", "system"].contains(words[1]) { return true }
        if words[0] == "alter" {
            return tokens.indices.dropLast().contains { index in
                tokens[index].word == "detach" && tokens[index...].contains { $0.word == "concurrently" }
            }
        }
        return words.contains("index") && words.contains("concurrently")
    }

    private static let transactionVerbs: Set<String> = [
        "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release",
    ]

    private static let sessionVerbs: Set<String> = [
        "reset", "discard", "listen", "unlisten", "load", "prepare", "execute", "deallocate", "declare",
    ]

    private static func postgresReason(verb: String, tokens: [SQLScanner.Token]) -> String? {
        if sessionVerbs.contains(verb) {
            return "\(verb.uppercased()): its effect would stay on the connection"
        }
        if verb == "set" { return settingReason(tokens.dropFirst().prefix(4).map(\.name)) }
        if verb == "copy", tokens.contains(where: { $0.word == "stdin" }) {
            return "COPY FROM STDIN: its data only means something to psql; use INSERT"
        }
        if verb == "copy", tokens.contains(where: { $0.word == "stdout" }) {
            return "COPY TO STDOUT: nobody reads what it sends; take it out"
        }
        // What a routine's body does, it does when it is called.
        if verb == "create", tokens.prefix(4).contains(where: { ["function", "procedure"].contains($0.word) }) {
            return nil
        }
        for (token, next) in zip(tokens, tokens.dropFirst()) where next.kind == .symbol(UInt8(ascii: "(")) {
            guard let name = token.name else { continue }
            if name.hasPrefix("pg_advisory_") || name.hasPrefix("pg_try_advisory_") {
                return "\(name): the runner takes the locks, and a file's own would stay on the connection"
            }
            if name == "set_config" { return "set_config: settings belong to the runner" }
        }
        return nil
    }

    private static func settingReason(_ words: [String?]) -> String? {
        switch words.first ?? nil {
        case "constraints":
            return nil
        case "local":
            let setting = words.dropFirst().first ?? nil
            let owned: Set<String> = ["role", "session", "search_path", "schema", "transaction"]
            guard let setting, owned.contains(setting) else { return nil }
            return "SET LOCAL \(setting): the runner decides role and schema"
        case "transaction":
            return "SET TRANSACTION: the runner begins the transaction, with the database's own isolation level"
        default:
            return "SET: its effect would stay on the connection; SET LOCAL ends with the migration"
        }
    }
}
