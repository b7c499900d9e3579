import Testing

@testable import CloacinaWorkflow

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

@Suite struct SHA256Tests {
    /// The examples of FIPS 180-4 that NIST publishes, and the empty message.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        (
            "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
        ),
        (
            String(repeating: "a", count: 1_000_000),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        ),
    ])
    func agreesWithTheStandard(message: String, digest: String) {
        #expect(Self.hex(SHA256.digest(message.utf8)) == digest)
    }

    /// The digests of messages of 0 to 199 bytes, hashed together; compared with Python's `hashlib`.
    @Test func padsMessagesOfEveryLength() {
        var all = SHA256()
        for count in 0..<200 { all.update(SHA256.digest((0..<count).map { UInt8($0 % 251) })) }
        #expect(Self.hex(all.finish()) == "ba7b0fcea7d10c06b855b43d2b4dce1e3e842fff6be0acefb0faf4f2dd05bb47")
    }

    @Test func takesAMessageInParts() {
        var parts = SHA256()
        for byte in 0..<150 { parts.update([UInt8(byte)]) }
        #expect(parts.finish() == SHA256.digest((0..<150).map { UInt8($0) }))
    }

    private static func hex(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

@Suite struct ContentVersionTests {
    private typealias Behavior = ContentVersion.TaskBehavior

    private static let behaviors: [String: Behavior] = [
        "extract": Behavior(codeVersion: "1"),
        "load": Behavior(codeVersion: "2", triggerRule: #"{"always":true}"#, handles: ["extract"]),
    ]

    private static func version(
        name: String = "etl", description: String = "", _ tasks: KeyValuePairs<String, [String]>,
        changing change: (String, inout Behavior) -> Void = { _, _ in }
    ) throws -> ContentVersion {
        let tasks = tasks.map { WorkflowTask($0.key, dependencies: $0.value) { _, _ in } }
        return try Workflow(name, description: description, tasks: tasks).contentVersion { task in
            var behavior = Self.behaviors[task.id] ?? Behavior()
            change(task.id, &behavior)
            return behavior
        }
    }

    private static func etl(changing change: (String, inout Behavior) -> Void = { _, _ in }) throws -> ContentVersion {
        try Self.version(["extract": [], "load": ["extract"]], changing: change)
    }

    /// A fixed value, computed by another program: whoever changes it strands every run that is pinned to a version.
    @Test func isTheSameEverywhere() throws {
        let version = try Self.etl()
        #expect(version.hex == "88bf7176e1d8dca6708fe106a04e7c3f9aa7be062333d9fdfa86d10c6e7f3e62")
        #expect(version.short == version.hex.prefix(12))
        #expect(try Self.etl() == version)
    }

    @Test func changesWithAllThatChangesBehavior() throws {
        let versions = [
            try Self.etl(),
            try Self.version(name: "etl2", ["extract": [], "load": ["extract"]]),
            try Self.version(["load": ["extract"], "extract": []]),
            try Self.version(["extract": [], "load": []]),
            try Self.version(["extract": [], "load": ["extract"], "report": []]),
            try Self.version(["extract": [], "load": ["extract"], "report": ["extract", "load"]]),
            try Self.version(["extract": [], "load": ["extract"], "report": ["load", "extract"]]),
            try Self.etl { if $0 == "extract" { $1.codeVersion = "2" } },
            try Self.etl { if $0 == "extract" { $1.codeVersion = "" } },
            try Self.etl { if $0 == "extract" { $1.codeVersion = nil } },
            try Self.etl { if $0 == "load" { $1.triggerRule = nil } },
            try Self.etl { if $0 == "load" { ($1.codeVersion, $1.triggerRule) = ($1.triggerRule, $1.codeVersion) } },
            try Self.etl { if $0 == "load" { $1.handles = [] } },
            try Self.etl { if $0 == "load" { $1.handles = ["extract", "extract"] } },
        ]
        #expect(Set(versions).count == versions.count)
    }

    @Test func staysWhenOnlyWordsChange() throws {
        let version = try Self.etl()
        #expect(try Self.version(description: "About it", ["extract": [], "load": ["extract"]]) == version)
        #expect(try Self.version(["extract": [], "load": ["extract", "extract"]]) == version)
    }

    /// Fields that would be the same bytes if they were simply joined.
    @Test func keepsFieldsApart() {
        func version(_ build: (inout ContentVersion.Builder) -> Void) -> ContentVersion {
            var builder = ContentVersion.Builder(format: "test")
            build(&builder)
            return builder.finish()
        }
        let versions = [
            version { _ in },
            version { $0.add("a", "b") },
            version { $0.add("ab", "") },
            version { $0.add("", "ab") },
            version { $0.add("ab", nil as String?) },
            version { $0.add("a", ["b"]) },
            version { $0.add("a", ["b", ""]) },
            version { $0.add("a", ["", "b"]) },
            version { $0.add("a", [] as [String]) },
            version { $0.add("a", "") },
            version {
                $0.add("a", [] as [String])
                $0.add("b", "")
            },
            version { $0.add("a", bytes: [0]) },
            version { $0.add("a", bytes: [0, 0]) },
            ContentVersion.Builder(format: "test2").finish(),
        ]
        #expect(Set(versions).count == versions.count)
    }

    @Test func comesBackFromItsText() throws {
        let version = try Self.etl()
        #expect(ContentVersion(version.description) == version)
        let data = try JSONEncoder().encode([version])
        #expect(try JSONDecoder().decode([ContentVersion].self, from: data) == [version])
    }

    @Test(arguments: [
        "", "abc", String(repeating: "g", count: 64), String(repeating: "A", count: 64),
        String(repeating: "0", count: 63),
        String(repeating: "0", count: 65), String(repeating: "é", count: 32),
    ])
    func refusesOtherTexts(text: String) throws {
        #expect(ContentVersion(hex: text) == nil)
        let data = try JSONEncoder().encode([text])
        #expect(throws: DecodingError.self) { try JSONDecoder().decode([ContentVersion].self, from: data) }
    }

    @Test func hashesTenThousandTasks() throws {
        let tasks = (0..<10_000).map { index in
            WorkflowTask("t\(index)", dependencies: index == 0 ? [] : ["t\(index - 1)"]) { _, _ in }
        }
        let workflow = try Workflow("chain", tasks: tasks)
        #expect(
            workflow.contentVersion { _ in Behavior() } != workflow.contentVersion { _ in Behavior(codeVersion: "1") })
    }
}
