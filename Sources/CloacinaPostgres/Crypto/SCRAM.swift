/// Computes what PostgreSQL stores for a password, so that the password itself never travels to the server.
package enum SCRAM {
    /// Why a password cannot become a verifier.
    package enum PasswordRejection: Error, Sendable, Hashable {
        /// The server takes an empty password for "no password".
        case empty
        /// The server reads no more than this many bytes.
        case tooLong(limit: Int)
        /// PostgreSQL prepares passwords with SASLprep, which this package applies to printable ASCII only (where it
        /// changes nothing); a password outside it is refused, not guessed at. `position` counts from 1.
        case notPrintableASCII(position: Int)
    }

    /// The longest password that every PostgreSQL client can send.
    package static let maximumPasswordLength = 512
    /// PostgreSQL's default for `scram_iterations`.
    package static let defaultIterations = 4096

    /// Checks that `password` can become a verifier.
    package static func check(password: String) throws(PasswordRejection) {
        guard !password.isEmpty else { throw .empty }
        guard password.utf8.count <= self.maximumPasswordLength else {
            throw .tooLong(limit: self.maximumPasswordLength)
        }
        for (index, scalar) in password.unicodeScalars.enumerated() where !(0x20...0x7E).contains(scalar.value) {
            throw .notPrintableASCII(position: index + 1)
        }
    }

    /// Returns the verifier of `password` in PostgreSQL's stored form:
    /// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
    ///
    /// - Throws: ``PasswordRejection`` or ``CryptoError``.
    package static func verifier(
        password: String, salt: [UInt8]? = nil, iterations: Int = SCRAM.defaultIterations
    ) throws -> String {
        try self.check(password: password)
        let salt = try salt ?? SecureRandom.bytes(16)
        let salted = try Digest.pbkdf2SHA256(password: Array(password.utf8), salt: salt, iterations: iterations)
        let clientKey = try Digest.hmacSHA256(key: salted, message: Array("Client Key".utf8))
        let serverKey = try Digest.hmacSHA256(key: salted, message: Array("Server Key".utf8))
        let storedKey = Digest.sha256(clientKey)
        return
            "SCRAM-SHA-256$\(iterations):\(Base64.padded(salt))$\(Base64.padded(storedKey)):\(Base64.padded(serverKey))"
    }
}
