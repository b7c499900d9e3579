import Testing

@testable import CloacinaPostgres

@Suite struct DigestTests {
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
    ])
    func sha256MatchesFIPS180(text: String, hex: String) {
        #expect(Digest.sha256Hex(Array(text.utf8)) == hex)
    }

    @Test func hmacMatchesRFC4231() throws {
        let code = try Digest.hmacSHA256(
            key: Array("Jefe".utf8), message: Array("what do ya want for nothing?".utf8))
        #expect(Base64.padded(code) == "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=")
    }

    @Test func hmacOfAnEmptyMessageAndKeyIsDefined() throws {
        let code = try Digest.hmacSHA256(key: [], message: [])
        #expect(code.prefix(4) == [0xB6, 0x13, 0x67, 0x9A])
    }

    @Test(arguments: [
        ("", "", ""), ("f", "Zg==", "Zg"), ("fo", "Zm8=", "Zm8"), ("foo", "Zm9v", "Zm9v"),
        ("foob", "Zm9vYg==", "Zm9vYg"),
        ("fooba", "Zm9vYmE=", "Zm9vYmE"), ("foobar", "Zm9vYmFy", "Zm9vYmFy"), ("\u{3}\u{7F}\u{7F}", "A39/", "A39_"),
    ])
    func base64MatchesRFC4648(text: String, padded: String, urlSafe: String) {
        #expect(Base64.padded(Array(text.utf8)) == padded)
        #expect(Base64.urlSafe(Array(text.utf8)) == urlSafe)
    }

    @Test func passwordsAre43URLSafeCharactersAndDiffer() throws {
        let passwords = try (0..<200).map { _ in try SecureRandom.password() }
        #expect(Set(passwords).count == passwords.count)
        for password in passwords {
            #expect(password.utf8.count == 43)
            #expect(
                password.utf8.allSatisfy {
                    "-_".utf8.contains($0) || UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0
                        || UInt8(ascii: "a")...UInt8(ascii: "z") ~= $0 || UInt8(ascii: "A")...UInt8(ascii: "Z") ~= $0
                })
        }
    }
}
