/// Base64 in its two alphabets.
package enum Base64 {
    private static let standardAlphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    private static let urlSafeAlphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    /// Returns `bytes` in the standard alphabet, padded with `=`.
    package static func padded(_ bytes: [UInt8]) -> String {
        let text = self.encode(bytes, self.standardAlphabet)
        return text + String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
    }

    /// Returns `bytes` in the alphabet of RFC 4648 §5, without padding.
    package static func urlSafe(_ bytes: [UInt8]) -> String {
        self.encode(bytes, self.urlSafeAlphabet)
    }

    private static func encode(_ bytes: [UInt8], _ alphabet: [UInt8]) -> String {
        var characters: [UInt8] = []
        characters.reserveCapacity((bytes.count * 4 + 2) / 3)
        var buffer: UInt32 = 0
        var bits: UInt32 = 0
        for byte in bytes {
            buffer = (buffer << 8) | UInt32(byte)  // can't trap: a byte fits
            bits += 8
            while bits >= 6 {
                bits -= 6
                characters.append(alphabet[Int((buffer >> bits) & 63)])  // can't trap: only six bits
            }
        }
        if bits > 0 { characters.append(alphabet[Int((buffer << (6 - bits)) & 63)]) }  // can't trap: only six bits
        return String(decoding: characters, as: UTF8.self)
    }
}
