/// How a tenant gets new credentials.
public struct ReissueOptions: Sendable {
    /// The login's new password, printable ASCII; by default one of 256 bits is made.
    public var password: String?
    /// True when ``password`` was made by an earlier call that broke off, and not thought up.
    package var isPasswordMade = false
    /// Whether sessions of the tenant's login end, which the old password opened; false.
    public var endsSessions = false

    /// Everything as by default.
    public init() {}
}

extension ReissueOptions: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Everything but the password.
    public var description: String { "ReissueOptions(endsSessions: \(self.endsSessions))" }
    /// Everything but the password.
    public var debugDescription: String { self.description }
    /// Everything but the password.
    public var customMirror: Mirror { Mirror(self, children: ["endsSessions": self.endsSessions]) }
}

/// What new credentials came with.
public struct ReissueReport: Sendable, Hashable {
    /// The new credentials; the old password is dead.
    public let credentials: TenantCredentials
    /// How many of the login's sessions were ended.
    public let endedSessions: Int
    /// How many of the login's sessions are there still, begun with the old password.
    public let remainingSessions: Int
}
