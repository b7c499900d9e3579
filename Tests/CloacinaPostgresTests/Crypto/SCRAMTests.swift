import Testing

@testable import CloacinaPostgres

@Suite struct SCRAMTests {
    /// RFC 7677 §3: user `user`, password `pencil`; salt and iterations from the server's first message.
    private static let rfcSalt: [UInt8] = [
        0x5B, 0x6D, 0x99, 0x68, 0x9D, 0x12, 0x35, 0x8E, 0xEC, 0xA0, 0x4B, 0x14, 0x12, 0x36, 0xFA, 0x81,
    ]

    static let serverVerifiers: [(String, String, [UInt8])] = [
        (
            "pencil",
            "SCRAM-SHA-256$4096:hsE9sXwzuYC1pXD/fZZQmQ=="
                + "$9BpkJQZc6zjr5ROs2TTur1wnWQKWwtB/wpbl3isBWm4=:hTPpeZTIDpdSPKtdTpY1u7uYJiCTve7eOs99DSweoGQ=",
            [
                0x86, 0xC1, 0x3D, 0xB1, 0x7C, 0x33, 0xB9, 0x80, 0xB5, 0xA5, 0x70, 0xFF, 0x7D, 0x96, 0x50, 0x99,
            ]
        ),
        (
            ##" ~!"#$%&'()*+,-./:;<=>?@[\]^_`{|}"##,
            "SCRAM-SHA-256$4096:pRzN+o9wqFprnxWcKcOuSw=="
                + "$B7m9RSF8Pr8pwV5fsG/EvMWTLBn4eMgB9l7y8tuUMEA=:xFg7oLXuzx34Ff3a5W7zv+0J06/ncezRfqGoK+eUgM0=",
            [
                0xA5, 0x1C, 0xCD, 0xFA, 0x8F, 0x70, 0xA8, 0x5A, 0x6B, 0x9F, 0x15, 0x9C, 0x29, 0xC3, 0xAE, 0x4B,
            ]
        ),
        (
            "correct horse battery staple 0123456789 correct horse battery staple 0123456789",
            "SCRAM-SHA-256$4096:/tI0omU+Jwwho33NxiamfQ=="
                + "$FswX+sAuTsRXKSAI2AQKmsfLyvSEvlJ9iLRZ6wiuQ2U=:piIteO8dbqPsNGGSSNHgmznxyq7nCgF3fksYNo9vxro=",
            [
                0xFE, 0xD2, 0x34, 0xA2, 0x65, 0x3E, 0x27, 0x0C, 0x21, 0xA3, 0x7D, 0xCD, 0xC6, 0x26, 0xA6, 0x7D,
            ]
        ),
    ]

    @Test func keysProduceTheProofsOfRFC7677() throws {
        #expect(Base64.padded(Self.rfcSalt) == "W22ZaJ0SNY7soEsUEjb6gQ==")
        let authMessage =
            "n=user,r=rOprNGfwEbeRWgbNEkqO,"
            + "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
            + "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        let salted = try Digest.pbkdf2SHA256(password: Array("pencil".utf8), salt: Self.rfcSalt, iterations: 4096)
        let clientKey = try Digest.hmacSHA256(key: salted, message: Array("Client Key".utf8))
        let storedKey = Digest.sha256(clientKey)
        let clientSignature = try Digest.hmacSHA256(key: storedKey, message: Array(authMessage.utf8))
        let proof = zip(clientKey, clientSignature).map { $0 ^ $1 }
        #expect(Base64.padded(proof) == "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
        let serverKey = try Digest.hmacSHA256(key: salted, message: Array("Server Key".utf8))
        let serverSignature = try Digest.hmacSHA256(key: serverKey, message: Array(authMessage.utf8))
        #expect(Base64.padded(serverSignature) == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    }

    @Test func verifierHasTheFormThatPostgresStores() throws {
        let verifier = try SCRAM.verifier(password: "pencil", salt: Self.rfcSalt)
        #expect(verifier.hasPrefix("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"))
        #expect(!verifier.contains("pencil"))
    }

    /// `SELECT rolpassword FROM pg_authid` on PostgreSQL 15.18 after `CREATE ROLE … PASSWORD '…'` in clear.
    @Test(arguments: SCRAMTests.serverVerifiers)
    func verifierIsWhatPostgresComputes(password: String, stored: String, salt: [UInt8]) throws {
        #expect(try SCRAM.verifier(password: password, salt: salt) == stored)
    }

    @Test func everyVerifierHasASaltOfItsOwn() throws {
        #expect(try SCRAM.verifier(password: "same") != SCRAM.verifier(password: "same"))
    }

    @Test(arguments: [
        ("", SCRAM.PasswordRejection.empty),
        ("pässword", .notPrintableASCII(position: 2)),
        ("a\u{0}b", .notPrintableASCII(position: 2)),
        ("tab\there", .notPrintableASCII(position: 4)),
        ("ｆｕｌｌ", .notPrintableASCII(position: 1)),
        ("soft\u{AD}hyphen", .notPrintableASCII(position: 5)),
        (String(repeating: "x", count: 513), .tooLong(limit: 512)),
    ])
    func passwordsThatNeedNormalisingAreRefused(password: String, rejection: SCRAM.PasswordRejection) {
        #expect(throws: rejection) { try SCRAM.verifier(password: password) }
    }
}
