import CloacinaPostgres

/// A transaction that waits for its second phase, with no session behind it.
struct PreparedTransaction: Sendable, Hashable {
    let identifier: TransactionIdentifier
    let owner: String
    let database: String

    /// Only its owner may end it.
    var actAsOwner: String { "SET ROLE \(PostgresIdentifier.quote(self.owner))" }

    var rollback: String { "ROLLBACK PREPARED \(self.identifier.literal)" }
}

extension PreparedTransaction {
    /// Reads a row of ``RemovalQueries/preparedTransactions(of:)``.
    init(_ row: PostgresRow) throws {
        self.init(
            identifier: TransactionIdentifier(bytes: try row.value("gid")), owner: try row.value("owner"),
            database: try row.value("database"))
    }
}

/// The name of a prepared transaction: bytes in the encoding of its own database, which another database shows as they are.
///
/// As text it could not be read back: a database without an encoding, or with another one than the registry's, has names that are no
/// UTF-8.
struct TransactionIdentifier: Sendable, Hashable, CustomStringConvertible {
    let bytes: [UInt8]

    /// Printable ASCII as it is, and the rest by hexadecimal escapes.
    var description: String {
        self.bytes.map { byte in
            (0x20..<0x7f).contains(byte) ? String(UnicodeScalar(byte)) : Self.escape(byte)
        }.joined()
    }

    /// A literal of ASCII alone, which every encoding leaves as it is.
    var literal: String { "E'" + self.bytes.map(Self.escape).joined() + "'" }

    private static func escape(_ byte: UInt8) -> String {
        (byte < 0x10 ? "\\x0" : "\\x") + String(byte, radix: 16)
    }
}
