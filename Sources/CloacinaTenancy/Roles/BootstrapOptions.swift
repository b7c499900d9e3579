/// How a database is prepared for tenants.
public struct BootstrapOptions: Sendable {
    /// The login of pools that serve all tenants; `cloacina_service` by default. It is LOGIN NOINHERIT.
    public var serviceRole: String?
    /// A role that stands for all tenants, `cloacina_tenants` by default. It has no members and no rights: what tenants shared,
    /// one could use for others to see. Each tenant's own runtime role may connect to the database.
    public var tenantsRole: String?
    /// The service login's password, printable ASCII; by default it has none and can't log in by password.
    public var servicePassword: String?
    /// True when ``servicePassword`` was made, and not thought up.
    package var isServicePasswordMade = false
    /// Whether a service login that exists, and that no bootstrap made, is taken into use all the same; false.
    ///
    /// Others may know its password or act as it, and with it reach every tenant; or their pools use it in other databases, which a
    /// new password shuts out.
    public var adoptsServiceRole = false
    /// Whether `PUBLIC` loses CONNECT and TEMPORARY on the database and everything on the schema `public`; true.
    ///
    /// Without it the server lets any login of the same server connect, and tenants share what `public` allows.
    public var restrictsPublic = true
    /// Whether `PUBLIC` loses the functions of advisory locks and large objects, by which tenants could fill the server's lock
    /// table or leave each other data, logins may wait for no lock on what isn't theirs, and the administrator may limit temporary
    /// files; false. It takes a superuser.
    public var hardens = false

    /// Everything as by default.
    public init() {}
}

extension BootstrapOptions: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The roles; never the password.
    public var description: String {
        "BootstrapOptions(serviceRole: \(self.serviceRole ?? "default"), tenantsRole: \(self.tenantsRole ?? "default"))"
    }
    /// The roles; never the password.
    public var debugDescription: String { self.description }
    /// The roles; never the password.
    public var customMirror: Mirror {
        Mirror(self, children: ["serviceRole": self.serviceRole as Any, "tenantsRole": self.tenantsRole as Any])
    }
}

/// What bootstrap found and did.
public struct BootstrapReport: Sendable, Hashable, Encodable {
    /// The database.
    public let database: String
    /// The server's version as a number, such as 150018.
    public let serverVersion: Int
    /// The login of pools that serve all tenants.
    public let serviceRole: String
    /// The group of all tenants' logins.
    public let tenantsRole: String
    /// The newest migration of the control schema.
    public let controlVersion: Int
    /// The migrations of the control schema that were applied now; empty when it was up to date.
    public let appliedMigrations: [Int]
    /// The roles that were created now.
    public let createdRoles: [String]
    /// What weakens isolation, or lets a crash of the server lose what was committed, and was not asked to be changed.
    public let warnings: [String]
    /// The statements that a superuser should run in this database, so that tenants have neither advisory locks nor large objects and
    /// wait for no lock on what isn't theirs, and the administrator may limit their temporary files; empty when all of that is done.
    public let hardeningStatements: [String]
}
