import CloacinaPostgres

/// What `dev start` knows of its server: its answer, and the file (mode 0600) that the next command reads.
struct ServerState: Codable, Sendable, Equatable {
    /// The postmaster; nothing once it was stopped.
    var pid: Int32?
    /// The process's start in clock ticks since boot, which tells it from a later process of the same number.
    var processStart: UInt64?
    var port: Int
    /// Where everything lives; not where it was asked for when the server's user can't reach that.
    var directory: String
    var dataDirectory: String
    var socketDirectory: String
    var log: String
    /// The administrator's connection: CREATEROLE, owner of the database `cloacina`, not a superuser.
    var url: String
    var superuserUrl: String
    /// The server's own, such as `15.18`.
    var version: String
    /// The binaries that run it.
    var postgresBin: String
    /// The settings of the command line that every start uses, as `name=value`; none in a file of an earlier build.
    var settings: [String]?
}

/// The two roles of a development server. Their passwords live in the state file only.
struct ServerSecrets: Sendable, Equatable {
    static let administratorRole = "cloacina_admin"
    static let superuserRole = "postgres"
    static let database = "cloacina"

    let administrator: String
    let superuser: String

    static func make() throws -> ServerSecrets {
        try ServerSecrets(administrator: SecureRandom.password(), superuser: SecureRandom.password())
    }

    init(administrator: String, superuser: String) {
        self.administrator = administrator
        self.superuser = superuser
    }

    /// Reads them back out of the two URLs of an earlier start.
    init?(_ state: ServerState) {
        guard let administrator = Self.password(in: state.url), let superuser = Self.password(in: state.superuserUrl)
        else { return nil }
        self.init(administrator: administrator, superuser: superuser)
    }

    func administratorURL(port: Int) -> String {
        "postgresql://\(Self.administratorRole):\(self.administrator)@127.0.0.1:\(port)/\(Self.database)"
    }

    func superuserURL(port: Int) -> String {
        "postgresql://\(Self.superuserRole):\(self.superuser)@127.0.0.1:\(port)/postgres"
    }

    /// The statements, one a line, that a fresh cluster (or one whose passwords were lost) gets in single-user mode.
    /// It holds verifiers, not passwords.
    func script(majorVersion: Int, isNew: Bool) throws -> String {
        let verb = isNew ? "CREATE" : "ALTER"
        let administrator = try SCRAM.verifier(password: self.administrator)
        let superuser = try SCRAM.verifier(password: self.superuser)
        var lines = [
            "\(verb) ROLE \(Self.administratorRole) LOGIN CREATEROLE PASSWORD '\(administrator)'",
            "ALTER ROLE \(Self.superuserRole) PASSWORD '\(superuser)'",
        ]
        if isNew {
            if majorVersion < 15 {
                lines.append("ALTER SCHEMA public OWNER TO pg_database_owner")
                lines.append("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            }
            lines.append("CREATE DATABASE \(Self.database) OWNER \(Self.administratorRole)")
        }
        return lines.map { $0 + ";\n" }.joined()
    }

    private static func password(in url: String) -> String? {
        guard let at = url.lastIndex(of: "@") else { return nil }
        let login = url[..<at]
        guard let colon = login.lastIndex(of: ":") else { return nil }
        let password = login[login.index(after: colon)...]
        return password.isEmpty ? nil : String(password)
    }
}
