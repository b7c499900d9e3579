package import CloacinaPostgres

/// Advice on refusals whose bare SQLSTATE says too little.
package enum MigrationAdvice {
    package static func reason(
        for error: PostgresError, statement: SQLStatement?, in target: MigrationTarget
    ) -> String? {
        switch error.sqlState {
        case "53200"?:
            "the server's lock table is full: one transaction holds a lock for each table it makes or drops. Raise "
                + "max_locks_per_transaction (the server restarts for it), or cut the file into several"
        case "42501"?: self.lackingRight(statement, target)
        case "57014"? where error.code == .rejectedByServer:
            "the server stopped the statement: a statement_timeout that the file sets itself, or somebody cancelled it"
        default: nil
        }
    }

    /// Advice on a file that the server still runs for a process that was killed.
    package static func goesOn(_ pids: [Int32]) -> String {
        let sessions = pids.map(String.init).joined(separator: ", ")
        let ends = pids.map { "SELECT pg_terminate_backend(\($0))" }.joined(separator: "; ")
        return
            "the server still runs a file that a killed command began (pid \(sessions)), and what it does isn't done: wait "
            + "until it has ended, or end it (\(ends)), and only then look at the schema"
    }

    private static func lackingRight(_ statement: SQLStatement?, _ target: MigrationTarget) -> String {
        let owner = target.owner.map(PostgresIdentifier.quote) ?? "the role that migrates"
        let words = self.words(statement)
        if words.starts(with: ["create", "extension"]) {
            return
                "\(owner) lacks CREATE on the database, and a tenant's schema is no place for an extension: a superuser "
                + "or the database's owner makes it once for all, CREATE SCHEMA extensions; CREATE EXTENSION … SCHEMA "
                + "extensions; GRANT USAGE ON SCHEMA extensions TO PUBLIC; and the file writes extensions. before its names"
        }
        if words.first == "create", words.prefix(4).contains(where: { $0 == "temp" || $0 == "temporary" }) {
            return
                "\(owner) lacks TEMPORARY on the database: its owner grants it, GRANT TEMPORARY ON DATABASE … TO \(owner)"
        }
        if words.starts(with: ["create", "schema"]) {
            return "\(owner) lacks CREATE on the database: a tenant has one schema, and a file changes that one"
        }
        return
            "\(owner) lacks a right that the statement needs, as the server says; the owner of that object grants it to "
            + "\(owner). A file that lays that role down, as RESET ROLE does, has no rights left"
    }

    private static func words(_ statement: SQLStatement?) -> [String] {
        var scanner = SQLScanner(statement?.text ?? "", dialect: .postgres)
        var words: [String] = []
        while words.count < 4, let token = try? scanner.next(), let word = token.word { words.append(word) }
        return words
    }
}
