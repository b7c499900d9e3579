/// Blots out password verifiers in SQL text.
package enum SecretMask {
    /// What stands in a verifier's place.
    package static let mask = "********"
    private static let prefix = "SCRAM-SHA-256$"

    /// Returns `text` with every SCRAM verifier replaced by asterisks.
    package static func mask(_ text: String) -> String {
        var rest = text[...]
        var masked = ""
        while let start = rest.firstRange(of: self.prefix) {
            masked += rest[..<start.lowerBound] + self.mask
            rest = rest[start.upperBound...].drop { $0 != "'" && !$0.isWhitespace }
        }
        return masked + rest
    }
}
