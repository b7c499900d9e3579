import CloacinaPostgres

/// A file's text, byte by byte as it came, and its checksums.
///
/// The canonical one is the same on every checkout, whatever the editor or git did to line ends; what lies between quotes
/// counts to the byte, because it reaches the server so.
package struct MigrationText: Sendable, Hashable {
    /// UTF-8 without a byte order mark.
    let bytes: [UInt8]
    /// SHA-256 of the bytes as they came, in hexadecimal.
    let rawChecksum: String
    /// SHA-256 of the canonical form, in hexadecimal: lines end in LF, no blanks before it, no empty lines at the end.
    let canonicalChecksum: String
    /// The comments that a marker could be.
    let comments: [SQLScanner.LineComment]

    /// The quotation or comment that doesn't end.
    let unfinished: SQLTextError?

    /// Throws when the bytes aren't UTF-8 or contain NUL.
    package init(_ contents: [UInt8], dialect: SQLDialect) throws(SQLTextError) {
        try Self.checkEncoding(contents)
        let bytes = contents.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(contents.dropFirst(3)) : contents
        var scanner = SQLScanner(bytes, range: bytes.indices, dialect: dialect)
        var quotations: [Range<Int>] = []
        var unfinished: SQLTextError?
        var copy = CopyStatement()
        while unfinished == nil {
            do throws(SQLTextError) {
                guard let token = try scanner.next() else { break }
                if token.isQuoted { quotations.append(token.start..<token.end) }
                copy.pass(token, &scanner)
            } catch {
                // A psql command; whoever cuts the text into statements complains of it.
                if scanner.isAtBackslash { scanner.skipLine() } else { unfinished = error }
            }
        }
        self.bytes = bytes
        self.comments = scanner.lineComments
        self.unfinished = unfinished
        self.rawChecksum = Digest.sha256Hex(contents)
        self.canonicalChecksum = Digest.sha256Hex(Self.canonical(bytes, quotations))
    }

    private static func canonical(_ bytes: [UInt8], _ quotations: [Range<Int>]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count + 1)
        // Nothing before this is touched any more: it ends in a closing quote.
        var settled = 0
        func dropBlanks(_ isBlank: (UInt8) -> Bool) {
            while result.count > settled, let last = result.last, isBlank(last) { result.removeLast() }
        }
        func append(_ part: ArraySlice<UInt8>) {
            var previous: UInt8 = 0
            for byte in part {
                if SQLScanner.isLineEnd(byte) {
                    if byte == UInt8(ascii: "\r") || previous != UInt8(ascii: "\r") {
                        dropBlanks { SQLScanner.isBlank($0) && $0 != UInt8(ascii: "\n") }
                        result.append(UInt8(ascii: "\n"))
                    }
                } else {
                    result.append(byte)
                }
                previous = byte
            }
        }
        var position = 0
        for quotation in quotations {
            append(bytes[position..<quotation.lowerBound])
            result += bytes[quotation]
            settled = result.count
            position = quotation.upperBound
        }
        append(bytes[position...])
        dropBlanks(SQLScanner.isBlank)
        return result + [UInt8(ascii: "\n")]
    }

    private static func checkEncoding(_ bytes: [UInt8]) throws(SQLTextError) {
        if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
            throw SQLTextError(reason: "the file is UTF-16; save it as UTF-8", line: 1)
        }
        if let index = bytes.firstIndex(of: 0) {
            // Every other byte of plain letters in UTF-16 is NUL.
            let isUTF16 = bytes.count % 2 == 0 && bytes.count { $0 == 0 } * 3 > bytes.count
            throw SQLTextError(
                reason: isUTF16 ? "the file is UTF-16; save it as UTF-8" : "a NUL byte",
                line: isUTF16 ? 1 : self.line(of: index, in: bytes))
        }
        guard String(validating: bytes, as: UTF8.self) == nil else { return }
        // No character of UTF-8 holds the byte of a line end, so each line is right or wrong by itself.
        var start = 0
        for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            if String(validating: line, as: UTF8.self) == nil {
                throw SQLTextError(
                    reason:
                        "the file isn't UTF-8 (Latin-1, perhaps): this line has the first byte that isn't; save it as UTF-8",
                    line: self.line(of: start, in: bytes))
            }
            start += line.count + 1
        }
        throw SQLTextError(reason: "the file isn't UTF-8", line: 1)
    }

    private static func line(of index: Int, in bytes: [UInt8]) -> Int {
        var line = 1
        var previous: UInt8 = 0
        for byte in bytes[..<index] {
            if byte == UInt8(ascii: "\r") || (byte == UInt8(ascii: "\n") && previous != UInt8(ascii: "\r")) {
                line += 1
            }
            previous = byte
        }
        return line
    }
}

/// Notices psql's `COPY … FROM STDIN;`, whose data isn't SQL: it is refused, but must not hide what follows.
private struct CopyStatement {
    private var isFirstWord = true
    private var isCopy = false
    private var isFromStandardInput = false

    mutating func pass(_ token: SQLScanner.Token, _ scanner: inout SQLScanner) {
        if token.kind == .symbol(UInt8(ascii: ";")) {
            if self.isCopy, self.isFromStandardInput { scanner.skipCopyData() }
            self = CopyStatement()
            return
        }
        if self.isFirstWord { self.isCopy = token.word == "copy" }
        self.isFirstWord = false
        if token.word == "stdin" { self.isFromStandardInput = true }
    }
}
