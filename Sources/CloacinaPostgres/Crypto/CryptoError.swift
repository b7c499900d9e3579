/// OpenSSL refused a computation.
package struct CryptoError: Error, Sendable, Hashable, CustomStringConvertible {
    /// What was asked of OpenSSL.
    package enum Operation: String, Sendable {
        case randomBytes, sha256, hmac, pbkdf2
    }

    /// What was asked of OpenSSL.
    package let operation: Operation

    package var description: String { "OpenSSL could not compute \(self.operation.rawValue)" }
}
