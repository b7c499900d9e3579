import Foundation
import Testing

/// The lines that the tests' server writes to its log after a moment: all of them are too many to look through.
struct ServerLog: Sendable {
    private let path: String
    private let offset: UInt64

    /// The log from now on.
    static func begin() throws -> ServerLog {
        let directory = try #require(TestDatabase.current).server.directory
        try #require(!directory.isEmpty, "needs the server's log: CLOACINA_TEST_SERVER_DIRECTORY")
        let path = directory + "/server.log"
        let file = try FileHandle(forReadingFrom: URL(filePath: path))
        defer { try? file.close() }
        return ServerLog(path: path, offset: try file.seekToEnd())
    }

    /// The lines with a word, byte by byte.
    func lines(with word: String) throws -> [String] {
        let word = Data(word.utf8)
        return try self.bytes().split(separator: UInt8(ascii: "\n")).filter { $0.range(of: word) != nil }
            .map { String(decoding: $0, as: UTF8.self) }
    }

    /// True when a word is anywhere in it.
    func contains(_ word: String) throws -> Bool { try self.bytes().range(of: Data(word.utf8)) != nil }

    private func bytes() throws -> Data {
        let file = try FileHandle(forReadingFrom: URL(filePath: self.path))
        defer { try? file.close() }
        try file.seek(toOffset: self.offset)
        return try file.readToEnd() ?? Data()
    }
}
