import COpenSSL

/// SHA-256 and what is built on it, computed by OpenSSL.
package enum Digest {
    private static let length = 32

    /// Returns the SHA-256 of `bytes`: 32 bytes.
    package static func sha256(_ bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: self.length)
        unsafe digest.withUnsafeMutableBufferPointer { output in
            unsafe bytes.withUnsafeBufferPointer { input in
                _ = unsafe SHA256(input.baseAddress, input.count, output.baseAddress)
            }
        }
        return digest
    }

    /// Returns the SHA-256 of `bytes` as 64 lower-case hexadecimal digits.
    package static func sha256Hex(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        text.reserveCapacity(self.length * 2)
        for byte in self.sha256(bytes) {
            text.append(digits[Int(byte >> 4)])  // can't trap: half a byte
            text.append(digits[Int(byte & 15)])  // can't trap: half a byte
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Returns the HMAC-SHA-256 of `message` under `key`: 32 bytes.
    package static func hmacSHA256(key: [UInt8], message: [UInt8]) throws(CryptoError) -> [UInt8] {
        guard let keyLength = Int32(exactly: key.count) else { throw CryptoError(operation: .hmac) }
        var code = [UInt8](repeating: 0, count: self.length)
        var written: UInt32 = 0
        let result = unsafe code.withUnsafeMutableBufferPointer { output in
            unsafe key.withUnsafeBufferPointer { key in
                unsafe message.withUnsafeBufferPointer { message in
                    unsafe HMAC(
                        EVP_sha256(), key.baseAddress, keyLength, message.baseAddress, message.count,
                        output.baseAddress, &written) != nil
                }
            }
        }
        guard result, written == self.length else { throw CryptoError(operation: .hmac) }
        return code
    }

    /// Returns PBKDF2 with HMAC-SHA-256 over `password`: 32 bytes.
    package static func pbkdf2SHA256(
        password: [UInt8], salt: [UInt8], iterations: Int
    ) throws(CryptoError) -> [UInt8] {
        guard let passwordLength = Int32(exactly: password.count), let saltLength = Int32(exactly: salt.count),
            let rounds = Int32(exactly: iterations)
        else { throw CryptoError(operation: .pbkdf2) }
        var key = [UInt8](repeating: 0, count: self.length)
        let keyLength = Int32(clamping: self.length)
        let status = unsafe key.withUnsafeMutableBufferPointer { output in
            unsafe password.withUnsafeBytes { password in
                unsafe salt.withUnsafeBufferPointer { salt in
                    unsafe PKCS5_PBKDF2_HMAC(
                        password.assumingMemoryBound(to: CChar.self).baseAddress, passwordLength,
                        salt.baseAddress, saltLength, rounds, EVP_sha256(), keyLength, output.baseAddress)
                }
            }
        }
        guard status == 1 else { throw CryptoError(operation: .pbkdf2) }
        return key
    }
}
