import FoundationEssentials
import Glibc
import Testing

@testable import cloacina_admin

/// Lends a directory that is gone afterwards.
func withTemporaryDirectory<R>(_ body: (String) throws -> R) throws -> R {
    let directory = FileManager.default.temporaryDirectory.path + "/cloacina-admin-tests-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    return try body(directory)
}

@Suite struct CredentialsFileTests {
    static let document = CredentialsDocument(
        tenant: "acme", schema: "tenant_acme", username: "acme_a", password: "p/w",
        connectionString: "postgresql://acme_a:p%2Fw@127.0.0.1:5432/db")

    @Test func theFileHoldsFiveKeysAndOnlyItsOwnerReadsIt() throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/acme.json"
            let file = try CredentialsFile(creating: path)
            try file.write(Self.document)
            let text = try String(contentsOfFile: path, encoding: .utf8)
            #expect(
                text == """
                    {
                      "connectionString" : "postgresql://acme_a:p%2Fw@127.0.0.1:5432/db",
                      "password" : "p/w",
                      "schema" : "tenant_acme",
                      "tenant" : "acme",
                      "username" : "acme_a"
                    }

                    """)
            #expect(FileFacts(path)?.mode == S_IFREG | 0o600)
        }
    }

    @Test func theFileIsPrivateBeforeThereIsASecret() throws {
        try withTemporaryDirectory { directory in
            let file = try CredentialsFile(creating: directory + "/a.json")
            #expect(FileFacts(directory + "/a.json")?.mode == S_IFREG | 0o600)
            file.discard()
            #expect(FileFacts(directory + "/a.json") == nil)
        }
    }

    @Test(arguments: ["file", "link"])
    func anExistingFileIsRefusedAndLeftAlone(_ kind: String) throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/a.json"
            if kind == "file" {
                try PrivateFile.create(path, holding: Array("mine".utf8))
            } else {
                try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: "/nowhere/at/all")
            }
            #expect(failure { _ = try CredentialsFile(creating: path) }?.status == .failed)
            if kind == "file" {
                #expect(try String(contentsOfFile: path, encoding: .utf8) == "mine")
            }
        }
    }

    @Test func aMissingDirectoryIsNamed() {
        let failed = failure { _ = try CredentialsFile(creating: "/nowhere/at/all.json") }
        #expect(failed?.message.contains("/nowhere/at/all.json") == true)
    }
}
