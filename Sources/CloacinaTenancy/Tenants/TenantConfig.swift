public import CloacinaSchema

/// What a new tenant is to be.
public struct TenantConfig: Sendable {
    /// The tenant's name; see ``TenantName`` for what is allowed.
    public var name: String
    /// The schema's name, by the same rules; the tenant's name by default.
    public var schemaName: String?
    /// The login's password, printable ASCII; by default one of 256 bits is made.
    ///
    /// Only its SCRAM-SHA-256 verifier goes to the server.
    public var password: String?
    /// True when ``password`` was made by an earlier call that broke off, and not thought up.
    package var isPasswordMade = false
    /// The application's own migrations, applied to the tenant's schema after this library's; none by default.
    ///
    /// Each file is a transaction of its own, as it is for a tenant that exists. When one fails, the tenant stays half
    /// created, and the same call goes on from there.
    public var migrationSets: [MigrationSet]
    /// True when the tenant's own logins may run its runners, and so write the engine's tables; false.
    ///
    /// Without it they see their pipelines through views, and enqueue, cancel, pause and resume through functions.
    /// ``DatabaseAdmin/setEngineAccess(_:ofTenant:)`` changes it later.
    public var engineAccess = false

    /// How much of the server the tenant's logins may use; see ``TenantLimits`` for the defaults.
    public var limits = TenantLimits()

    /// A tenant of that name, with everything else as by default.
    public init(name: String) {
        self.name = name
        self.migrationSets = []
    }
}

extension TenantConfig: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The names; never the password.
    public var description: String { "TenantConfig(name: \(self.name), schema: \(self.schemaName ?? self.name))" }
    /// The names; never the password.
    public var debugDescription: String { self.description }
    /// The names; never the password.
    public var customMirror: Mirror {
        Mirror(self, children: ["name": self.name, "schemaName": self.schemaName ?? self.name])
    }
}
