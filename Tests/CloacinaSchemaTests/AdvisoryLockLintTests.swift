import FoundationEssentials
import Testing

/// C2: anybody who may connect may take any advisory lock, so nothing of ours waits for one.
@Suite struct AdvisoryLockLintTests {
    private static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// Whether a line calls the functions; to refuse them in migrations, or to take them from PUBLIC, names them only.
    private static func isCall(_ line: Substring) -> Bool {
        guard !line.contains("REVOKE"), !line.contains("FUNCTION"), !line.contains("hasPrefix") else { return false }
        return line.contains("pg_advisory_") || line.contains("pg_try_advisory_")
    }

    @Test("C2: no advisory lock is taken", arguments: ["Sources", "admin", "migrations", "Examples"])
    func noAdvisoryLockIsTaken(folder: String) throws {
        let directory = Self.root.appending(path: folder)
        let paths = try FileManager.default.subpathsOfDirectory(atPath: directory.path)
            .filter { $0.hasSuffix(".swift") || $0.hasSuffix(".sql") }.sorted()
        try #require(!paths.isEmpty, "\(folder) has no files: the lint looks in the wrong place")
        for path in paths {
            let bytes = try #require(FileManager.default.contents(atPath: directory.appending(path: path).path))
            let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
            #expect(lines.filter(Self.isCall) == [], "\(folder)/\(path)")
        }
    }

    @Test(arguments: ["SELECT pg_advisory_lock(1)", "\"SELECT pg_try_advisory_xact_lock($1)\""])
    func aCallIsFound(line: String) { #expect(Self.isCall(line[...])) }
}
