import FoundationEssentials
import Testing

/// All of the README's Swift is compiled and run: here, and where it needs a server, among the integration tests.
@Suite struct ReadmeTests {
    private static let sources = [
        "Tests/CloacinaTestingTests/SeedSampleTests.swift", "Tests/IntegrationTests/ReadmeSampleTests.swift",
    ]

    @Test func everyBlockIsCompiledToTheLetter() throws {
        let blocks = try self.parts(of: "README.md", from: "```swift", to: "```")
        let samples = try Self.sources.flatMap { source in
            try self.parts(of: source, from: "// README begins", to: "// README ends")
        }
        for block in blocks where !samples.contains(block) { Issue.record("only the README has this:\n\(block)") }
        for sample in samples where !blocks.contains(sample) { Issue.record("the README lacks this:\n\(sample)") }
        #expect(blocks.count == samples.count && blocks.count >= 15)
    }

    /// The texts between two kinds of lines, each without the indentation that all of its lines have.
    private func parts(of path: String, from begin: String, to end: String) throws -> [String] {
        let root = URL(filePath: #filePath)
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let file = String(decoding: try Data(contentsOf: root.appending(path: path)), as: UTF8.self)
        var parts: [String] = []
        var open: [Substring]?
        for line in file.split(separator: "\n", omittingEmptySubsequences: false) {
            let text = line.drop { $0 == " " }
            if let part = open {
                open = text == end ? nil : part + [line]
                if open == nil { parts.append(self.unindented(part)) }
            } else if text.lowercased().hasPrefix(begin.lowercased()) {
                open = []
            }
        }
        #expect(open == nil, "a part of \(path) has no end")
        return parts
    }

    private func unindented(_ lines: [Substring]) -> String {
        let depth = lines.filter { !$0.isEmpty }.map { $0.prefix { $0 == " " }.count }.min() ?? 0
        return lines.map { $0.dropFirst(depth) }.joined(separator: "\n")
    }
}
