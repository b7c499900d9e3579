import ArgumentParser
import CloacinaTenancy

/// The choice of the login over which the files of tenants run.
struct FileLoginOptions: ParsableArguments {
    @Flag(
        name: .long,
        help: ArgumentHelp(
            "Run files, and change histories, over the administrator's own login, where the server lets no other one in.",
            discussion: """
                Otherwise a login cloacina_migrator_… is made for each tenant, which may act as that tenant's owner, and \
                dropped after its files. With this, a file, and whatever an owner has made and a file sets off, can do what the \
                administrator can.
                """))
    var filesAsAdministrator = false

    /// The library's setting.
    var login: MigrationLogin { self.filesAsAdministrator ? .administrator : .shortLived }

    /// The warning about a login that leaves nothing between files and the administrator; nil for the other one.
    static func warning(_ login: MigrationLogin) -> String? {
        guard login == .administrator else { return nil }
        return "--files-as-administrator: the files, and whatever an owner has made and they set off, run with the "
            + "administrator's rights, those to make roles and to act as any tenant among them"
    }
}
