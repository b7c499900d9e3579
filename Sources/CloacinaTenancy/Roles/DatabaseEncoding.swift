import CloacinaPostgres

/// How a database stores text, and what to do when that is not UTF-8.
///
/// Contexts, names and errors hold any text. Another encoding refuses some of it, and a pipeline that can't be written is
/// run again and again.
struct DatabaseEncoding: Sendable, Hashable {
    /// As the server calls it, such as `UTF8`.
    var name: String
    /// The locale that a new database has unless another is asked for, such as `de_DE.ISO-8859-1`.
    var templateLocale: String

    /// Checks that the database holds any text.
    func check(_ endpoint: PostgresEndpoint) throws(AdminError) {
        guard self.name != "UTF8" else { return }
        throw AdminError(
            .unsupportedEncoding,
            "the encoding of the database \(endpoint.database) is \(self.name), which can't hold every text, and can't be "
                + "changed; a role with CREATEDB can make one that does, then bootstrap that: "
                + self.creation(of: endpoint.database + "_utf8", owner: endpoint.user))
    }

    /// The statement that makes a database in UTF-8. A locale of another encoding would have the server refuse it.
    func creation(of database: String, owner: String) -> String {
        let statement =
            "CREATE DATABASE \(PostgresIdentifier.quote(database)) OWNER \(PostgresIdentifier.quote(owner)) "
            + "TEMPLATE template0 ENCODING 'UTF8'"
        return self.isTemplateFit ? statement : statement + " LOCALE 'C'"
    }

    /// Whether the default locale goes with UTF-8: the names are those of libc, in any spelling.
    private var isTemplateFit: Bool {
        let locale = self.templateLocale.lowercased()
        return ["c", "posix"].contains(locale) || locale.contains("utf8") || locale.contains("utf-8")
    }
}
