/// The login over which the files of tenants run, and whatever reads and writes a tenant's history with them.
public enum MigrationLogin: Sendable, Hashable {
    /// A login that is made for one tenant's turn and dropped after it: it may act as that tenant's owner, and has no right of its
    /// own. The default.
    ///
    /// The server must let roles named `cloacina_migrator_` and twelve hexadecimal digits in, by password.
    case shortLived
    /// The administrator's own login, for servers that let no other one in.
    ///
    /// A file, and whatever a tenant's owner has made and a file sets off, can then do what the administrator can: make roles and
    /// act as any tenant.
    case administrator
}
