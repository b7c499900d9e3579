/// The names of a tenant's five roles.
struct TenantRoles: Sendable, Hashable {
    /// Owns the schema and runs DDL; NOLOGIN.
    let owner: String
    /// Holds USAGE and DML on the application's tables, and what the engine shows to the tenant; NOLOGIN.
    let runtime: String
    /// Reads and writes the engine's tables, and inherits ``runtime``; NOLOGIN.
    let engine: String
    /// The first login.
    let loginA: String
    /// The second login, NOLOGIN until a rotation brings it into use.
    let loginB: String

    init(_ name: TenantName) {
        self.owner = name.rawValue + "_owner"
        self.runtime = name.rawValue + "_runtime"
        self.engine = name.rawValue + "_engine"
        self.loginA = name.rawValue + "_a"
        self.loginB = name.rawValue + "_b"
    }

    /// All, logins first: the order in which they can be dropped.
    var all: [String] { [self.loginA, self.loginB, self.engine, self.runtime, self.owner] }
}
