package import CloacinaPostgres

/// Writes the URL by which a tenant connects, from where the administrator's own connection ended up.
package enum ConnectionURL {
    /// Options of the administrator's connection that hold for any login; certificates and the like are its own.
    private static let inherited = [
        "sslmode", "sslrootcert", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version",
        "channel_binding", "require_auth", "target_session_attrs",
    ]

    /// Returns a `postgresql://` URL; a Unix socket's directory goes into `host=`.
    package static func make(endpoint: PostgresEndpoint, user: String, password: String) -> String {
        var authority = self.encode(user) + ":" + self.encode(password) + "@"
        var query: [(String, String)] = []
        if endpoint.host.hasPrefix("/") || endpoint.host.hasPrefix("@") || endpoint.host.isEmpty {
            if !endpoint.host.isEmpty { query.append(("host", endpoint.host)) }
            query.append(("port", String(endpoint.port)))
        } else {
            authority += endpoint.host.contains(":") ? "[\(endpoint.host)]" : self.encode(endpoint.host)
            authority += ":\(endpoint.port)"
        }
        for key in self.inherited {
            if let value = self.value(of: key, at: endpoint), !value.isEmpty, !self.isDefault(key, value) {
                query.append((key, value))
            }
        }
        let parameters = query.map { "\($0.0)=\(self.encode($0.1, keeping: "/"))" }.joined(separator: "&")
        return "postgresql://\(authority)/\(self.encode(endpoint.database))"
            + (parameters.isEmpty ? "" : "?\(parameters)")
    }

    /// An option as a tenant's login needs it.
    private static func value(of key: String, at endpoint: PostgresEndpoint) -> String? {
        let value = endpoint.options[key]
        switch key {
        case "sslmode":
            // What was encrypted because the server offered it must not be plain for a tenant because nobody does.
            return endpoint.isEncrypted && [nil, "", "allow", "prefer"].contains(value) ? "require" : value
        case "require_auth":
            // Whoever logs in by a certificate or a ticket excludes what a tenant's password needs.
            return value.flatMap { self.allowsSCRAM($0) ? $0 : nil }
        default: return value
        }
    }

    /// Whether a list of methods, all of them negated or none, lets a password in by SCRAM.
    private static func allowsSCRAM(_ methods: String) -> Bool {
        let methods = methods.split(separator: ",").map { $0.filter { $0 != " " } }
        return methods.contains { $0.hasPrefix("!") }
            ? !methods.contains("!scram-sha-256") : methods.contains("scram-sha-256")
    }

    /// What libpq assumes anyway only lengthens the URL.
    private static func isDefault(_ key: String, _ value: String) -> Bool {
        switch key {
        case "sslmode", "channel_binding": value == "prefer"
        case "ssl_min_protocol_version": value == "TLSv1.2"
        case "sslnegotiation": value == "postgres"
        case "target_session_attrs": value == "any"
        default: false
        }
    }

    /// Percent-encodes everything but RFC 3986's unreserved characters.
    private static func encode(_ text: String, keeping kept: String = "") -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var encoded: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                encoded.append(byte)
            case _ where kept.utf8.contains(byte): encoded.append(byte)
            default:
                // can't trap: each half of a byte is below 16
                encoded += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }
}
