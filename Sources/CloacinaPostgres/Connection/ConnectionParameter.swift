/// What libpq takes as the value of a parameter, checked before it connects.
///
/// libpq finds out itself only after it has begun, and then quotes the value, which may be a piece of a password that was not
/// encoded. What is not listed here, it decides.
enum ConnectionParameter {
    /// What is wrong with a parameter's value, without the value; nothing where libpq may decide.
    static func complaint(_ name: String, value: String) -> String? {
        if value.isEmpty { return nil }
        if let choices = self.choices[name] {
            let isCaseless = name.hasSuffix("_protocol_version")
            guard !choices.contains(isCaseless ? value.lowercased() : value) else { return nil }
            return "the value of \(name) is not one of \(choices.joined(separator: ", "))" + self.hint(name, value)
        }
        if name == "port" {
            let ports = value.split(separator: ",", omittingEmptySubsequences: false)
            let isFine = ports.allSatisfy { $0.isEmpty || (UInt16($0, radix: 10) ?? 0) > 0 }
            return isFine ? nil : "the port is not a number from 1 to 65535; percent-encode special characters of a URL"
        }
        if self.numbers.contains(name) {
            return Int32(value.drop { $0 == " " }, radix: 10) == nil
                ? "the value of \(name) is not a whole number" : nil
        }
        return nil
    }

    /// The first complaint about any of these.
    static func complaint(_ parameters: [(name: String, value: String)]) -> String? {
        for parameter in parameters {
            if let complaint = self.complaint(parameter.name, value: parameter.value) { return complaint }
        }
        return nil
    }

    private static func hint(_ name: String, _ value: String) -> String {
        name == "sslmode" && value == "no-verify" ? "; what other clients call no-verify is require" : ""
    }

    private static let choices: [String: [String]] = [
        "sslmode": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
        "sslcertmode": ["disable", "allow", "require"],
        "sslnegotiation": ["postgres", "direct"],
        "channel_binding": ["disable", "prefer", "require"],
        "gssencmode": ["disable", "prefer", "require"],
        "target_session_attrs": ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"],
        "load_balance_hosts": ["disable", "random"],
        "ssl_min_protocol_version": ["tlsv1", "tlsv1.1", "tlsv1.2", "tlsv1.3"],
        "ssl_max_protocol_version": ["tlsv1", "tlsv1.1", "tlsv1.2", "tlsv1.3"],
    ]

    private static let numbers: Set<String> = [
        "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
        "tcp_user_timeout",
    ]
}
