/// The names of a tenant's four roles.
struct TenantRoles: Sendable, Hashable {
    /// Owns the schema and runs DDL; NOLOGIN.
    let owner: String
    /// Holds USAGE and DML; NOLOGIN.
    let runtime: String
    /// The first login.
    let loginA: String
    /// The second login, NOLOGIN until a rotation brings it into use.
    let loginB: String

    init(_ name: TenantName) {
        self.owner = name.rawValue + "_owner"
        self.runtime = name.rawValue + "_runtime"
        self.loginA = name.rawValue + "_a"
        self.loginB = name.rawValue + "_b"
    }

    /// All, logins first: the order in which they can be dropped.
    var all: [String] { [self.loginA, self.loginB, self.runtime, self.owner] }
}
