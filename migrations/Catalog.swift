/// One migration file as this binary carries it.
package struct EmbeddedScript: Sendable {
    /// Its name in the lane's folder.
    package let fileName: String
    /// Its contents.
    package let bytes: [UInt8]
}

/// The migration files beside this one, oldest first; a test counts the folders.
///
/// SwiftPM turns each into `PackageResources`, with `_` for a leading digit, dots and dashes in the name.
package enum Catalog {
    /// `control/`: the shared catalog.
    package static let control: [EmbeddedScript] = [
        EmbeddedScript(
            fileName: "0001_registry.control.sql", bytes: PackageResources._001_registry_control_sql)
    ]

    /// `tenant/`: one tenant's schema.
    package static let tenant: [EmbeddedScript] = [
        EmbeddedScript(
            fileName: "0001_engine.tenant.sql", bytes: PackageResources._001_engine_tenant_sql)
    ]

    /// `sqlite/`: one SQLite database.
    package static let sqlite: [EmbeddedScript] = [
        EmbeddedScript(
            fileName: "0001_engine.sqlite.sql", bytes: PackageResources._001_engine_sqlite_sql)
    ]
}
