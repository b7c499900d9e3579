/// How to reach a PostgreSQL server.
///
/// Everything that libpq understands works as it does there: URLs, keyword strings, `PGHOST` and its kin, `PGSERVICE`,
/// `~/.pgpass`, TLS modes and certificates.
///
/// What it would misread is refused before anything is sent, with ``PostgresError/Code/invalidConnectionString``: a parameter
/// or a value that it doesn't know, and a URL whose user or password holds an `@` or a `/` that is not percent-encoded.
///
/// A server that has vanished is noticed within a minute: `keepalives_idle` is 30, `keepalives_interval` 10,
/// `keepalives_count` 3 and `tcp_user_timeout` 45000 unless the connection string says otherwise. With a service file, what
/// it says of them counts, and libpq's own defaults where it says nothing.
public struct PostgresConfiguration: Sendable {
    /// A URL (`postgresql://…`), a keyword string (`host=… dbname=…`), or empty for libpq's environment alone.
    public var connectionString: String
    /// The role to log in as, over what the connection string says.
    public var user: String?
    /// The password, over what the connection string says.
    public var password: String?
    /// The database, over what the connection string says.
    public var database: String?
    /// What `pg_stat_activity` shows when the connection string names no application; `cloacina` by default.
    public var applicationName = "cloacina"
    /// How long connecting may take, from the name's resolution to the server's readiness; 10 seconds by default.
    public var connectTimeout: Duration = .seconds(10)
    /// How many statements a connection keeps prepared; 256 by default. The one unused longest gives way.
    public var statementCacheCapacity = 256

    /// What stands between this process and the server; found out at connect by default.
    public var pooling = PostgresPooling.detect

    /// Makes a configuration from a connection string; empty for libpq's environment.
    public init(_ connectionString: String = "") {
        self.connectionString = connectionString
    }
}

extension PostgresConfiguration: CustomStringConvertible {
    /// Names no secret: the connection string may hold a password.
    public var description: String { "PostgresConfiguration(applicationName: \(self.applicationName))" }
}

/// Where a connection ended up, as libpq resolved it; holds no password.
public struct PostgresEndpoint: Sendable, Hashable {
    /// A host name, an address, or the directory of a Unix socket.
    public let host: String
    /// The port.
    public let port: Int
    /// The database.
    public let database: String
    /// The role that was logged in as.
    public let user: String
    /// Every other connection option that was set, except secrets.
    public let options: [String: String]
    /// Whether the connection is encrypted.
    public let isEncrypted: Bool
}
