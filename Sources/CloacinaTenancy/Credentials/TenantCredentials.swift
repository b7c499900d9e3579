/// What a tenant needs to reach its schema, shown once.
///
/// Encodes to exactly `tenant`, `schema`, `username`, `password` and `connectionString`. Descriptions, debug output and
/// reflection mask the password and what holds it.
public struct TenantCredentials: Sendable, Hashable, Codable {
    /// The tenant's name.
    public let tenant: String
    /// The tenant's schema.
    public let schema: String
    /// The login.
    public let username: String
    /// The login's password. It is stored nowhere.
    public let password: String
    /// A URL that libpq, and most other clients, can connect with; it holds the password.
    public let connectionString: String

    package init(tenant: String, schema: String, username: String, password: String, connectionString: String) {
        self.tenant = tenant
        self.schema = schema
        self.username = username
        self.password = password
        self.connectionString = connectionString
    }
}

extension TenantCredentials: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// Everything but the password.
    public var description: String {
        "TenantCredentials(tenant: \(self.tenant), schema: \(self.schema), username: \(self.username), "
            + "password: \(SecretMask.mask))"
    }

    /// Everything but the password.
    public var debugDescription: String { self.description }

    /// Everything but the password.
    public var customMirror: Mirror {
        Mirror(
            self,
            children: [
                "tenant": self.tenant, "schema": self.schema, "username": self.username, "password": SecretMask.mask,
                "connectionString": SecretMask.mask,
            ])
    }
}
