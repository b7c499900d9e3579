import CloacinaPostgres

/// Tells the secret that an operation was handing over from every other one, so that an operation which was cut off goes on with
/// the file that it left, and never with an older one.
///
/// The ledger keeps it only of passwords of 256 random bits, which nobody finds again from it.
package enum SecretDigest {
    package static func of(_ password: String) -> String { Digest.sha256Hex(Array(password.utf8)) }

    /// The digest that the ledger is to keep of a password; none of one that somebody thought up.
    static func kept(of password: String, isMade: Bool) -> String? { isMade ? self.of(password) : nil }
}

/// A hand-over of a secret that broke off or failed.
package struct UnfinishedHandOver: Sendable, Hashable {
    /// Of the secret, when it was made here; nil for one that the operator gave.
    let secretDigest: String?

    /// True for the secret that was handed over, rather than one of before.
    ///
    /// - Parameter isGiven: Whether the operator gives the same secret again.
    package func wasOf(_ password: String, isGiven: Bool) -> Bool {
        self.secretDigest.map { $0 == SecretDigest.of(password) } ?? isGiven
    }
}
