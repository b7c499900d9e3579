/// What libpq says of its own accord when it can't connect.
///
/// The server's refusals have an SQLSTATE; libpq's have no code, only English words, unless the program has chosen another
/// locale. Words that are not known here count as something that may pass.
enum LibpqComplaint {
    /// Whether the same attempt can't succeed later, until the configuration or the server's set-up is changed.
    static func isPermanent(_ message: String) -> Bool {
        self.permanent.contains { message.contains($0) }
    }

    private static let permanent = [
        "does not support SSL", "does not support GSSAPI", "support is not compiled in", "certificate verify failed",
        "server certificate for", "root certificate file", "certificate file", "private key file",
        "host name must be specified for a verified SSL connection", "no password supplied", "channel binding",
        "authentication method", "definition of service", "service file", "could not match", "invalid ",
        "is too long", "unsupported protocol",
    ]
}
