import CloacinaPostgres

/// A file's text as it is hashed and run: the same on every checkout, whatever the editor or git did to line ends.
package struct MigrationText: Sendable, Hashable {
    /// UTF-8, lines end in LF, no byte order mark; blanks at line ends are still there.
    let normalized: String
    /// SHA-256 of the bytes as they came, in hexadecimal.
    let rawChecksum: String
    /// SHA-256 of the canonical form (also no blanks at line ends, no empty lines at the end), in hexadecimal.
    let canonicalChecksum: String

    /// Throws when the bytes aren't UTF-8 or contain NUL.
    package init(_ bytes: [UInt8]) throws(SQLTextError) {
        if let index = bytes.firstIndex(of: 0) {
            throw SQLTextError(reason: "a NUL byte", line: Self.line(of: index, in: bytes))
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw SQLTextError(reason: "the file isn't UTF-8", line: 1)
        }
        self.normalized = Self.normalized(text)
        self.rawChecksum = Digest.sha256Hex(bytes)
        self.canonicalChecksum = Digest.sha256Hex(Array(Self.canonical(self.normalized).utf8))
    }

    /// The text without blanks before line ends.
    static func withoutTrailingBlanks(_ text: String) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count)
        for byte in text.utf8 {
            if byte == UInt8(ascii: "\n") { dropBlanks(&result) }
            result.append(byte)
        }
        dropBlanks(&result)
        return String(decoding: result, as: UTF8.self)
    }

    private static func canonical(_ text: String) -> String {
        var bytes = Array(withoutTrailingBlanks(text).utf8)
        while bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self) + "\n"
    }

    private static func normalized(_ text: String) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count)
        var previous: UInt8 = 0
        for byte in text.utf8.dropFirst(text.utf8.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0) {
            switch byte {
            case UInt8(ascii: "\r"): bytes.append(UInt8(ascii: "\n"))
            case UInt8(ascii: "\n") where previous == UInt8(ascii: "\r"): break
            default: bytes.append(byte)
            }
            previous = byte
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func dropBlanks(_ bytes: inout [UInt8]) {
        while let last = bytes.last, last != UInt8(ascii: "\n"), SQLScanner.isBlank(last) { bytes.removeLast() }
    }

    private static func line(of index: Int, in bytes: [UInt8]) -> Int {
        bytes[..<index].count { $0 == UInt8(ascii: "\n") } + 1
    }
}
