import COpenSSL

/// Bytes that nobody can guess.
package enum SecureRandom {
    /// Returns `count` bytes from OpenSSL's generator for private values.
    package static func bytes(_ count: Int) throws(CryptoError) -> [UInt8] {
        guard count >= 0, let length = Int32(exactly: count) else { throw CryptoError(operation: .randomBytes) }
        var bytes = [UInt8](repeating: 0, count: count)
        let status = unsafe bytes.withUnsafeMutableBufferPointer {
            unsafe RAND_priv_bytes($0.baseAddress, length)
        }
        guard status == 1 else { throw CryptoError(operation: .randomBytes) }
        return bytes
    }

    /// Returns a password of 256 bits in 43 characters that mean nothing to a URL, a shell or a service file.
    package static func password() throws(CryptoError) -> String {
        Base64.urlSafe(try self.bytes(32))
    }
}
