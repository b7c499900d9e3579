import CloacinaPostgres

/// A service login that exists already, as far as taking it into use is concerned.
struct ServiceRole: Sendable, Hashable {
    /// The comment that tells a login which bootstrap made, without a password, from one of somebody else's.
    static let mark = "cloacina: service login, made by bootstrap"

    /// Whether bootstrap made it, for this or another database.
    var isMarked: Bool
    /// Who else may act as it.
    var members: [String]

    /// Makes the login, and marks it.
    static func creation(_ role: String) -> [String] {
        let role = PostgresIdentifier.quote(role)
        return [
            "CREATE ROLE \(role) LOGIN NOINHERIT",
            "COMMENT ON ROLE \(role) IS \(PostgresIdentifier.literal(Self.mark))",
        ]
    }

    /// Refuses a login that somebody else may know the password of, or act as. Only a superuser could see whether it has a
    /// password, so one that bootstrap didn't make counts as having one.
    func checkAdoption(_ role: String) throws(AdminError) {
        var reasons: [String] = []
        if !self.isMarked { reasons.append("bootstrap didn't make it, so it may have a password that others know") }
        if !self.members.isEmpty {
            reasons.append("these roles may act as it: \(self.members.joined(separator: ", "))")
        }
        guard !reasons.isEmpty else { return }
        throw AdminError(
            .roleExists,
            "the role \(role) exists and is not taken for the service login, which reaches every tenant: "
                + "\(reasons.joined(separator: "; ")); nothing was changed: choose another name (--service-role), or say "
                + "that it is yours (--adopt-service-role) and give it a new password")
    }
}

extension ServiceRole {
    /// Reads a row of ``BootstrapQueries/role(_:)``.
    init(_ row: PostgresRow) throws {
        self.init(isMarked: try row.value("is_marked"), members: try row.value("members"))
    }
}

/// A role of this database that other databases of the server know as well.
struct SharedRole: Sendable, Hashable {
    var role: String
    /// Whether it is the service login, not the group of tenants' logins.
    var isLogin: Bool
    var number: Int
    /// The first few of them.
    var databases: [String]

    /// The databases, in a line.
    var list: String {
        let rest = self.number - self.databases.count
        return self.databases.joined(separator: ", ") + (rest > 0 ? " and \(rest) more" : "")
    }

    var warning: String {
        self.isLogin
            ? "the service login \(self.role) is used in other databases of this server too (\(self.list)): its password opens "
                + "all of them; a database apart needs --service-role"
            : "the group \(self.role) is used in other databases of this server too (\(self.list)): the tenants of each may "
                + "connect to the others; a database apart needs --tenants-role"
    }
}

extension SharedRole {
    /// Reads a row of ``BootstrapQueries/elsewhere(serviceRole:tenantsRole:)``.
    init(_ row: PostgresRow) throws {
        self.init(
            role: try row.value("role"), isLogin: try row.value("is_login"), number: try row.value("number"),
            databases: try row.value("databases"))
    }
}
