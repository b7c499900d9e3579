import FoundationEssentials
import Glibc
import Testing

@testable import CloacinaPostgres
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
            try CredentialsFile(creating: path).write(Self.document)
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

    @Test("C7: the draft is private before there is a secret, and the name is given in one step at the end")
    func theDraftIsPrivateBeforeThereIsASecret() throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/a.json"
            let file = try CredentialsFile(creating: path)
            #expect(FileFacts(path + ".part")?.mode == S_IFREG | 0o600)
            #expect(FileFacts(path) == nil)
            file.discard()
            #expect(FileFacts(path + ".part") == nil)
            let second = try CredentialsFile(creating: path)
            try second.write(Self.document)
            #expect(FileFacts(path + ".part") == nil)
            #expect(try CredentialsFile.kept(CredentialsDocument.self, at: path) == Self.document)
        }
    }

    @Test(
        "C7: a draft or an empty file that a killed process left is taken over", arguments: [0, 4096], [".part", ""])
    func whatAKillLeftIsTakenOver(size: Int, suffix: String) throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/a.json"
            try PrivateFile.create(path + suffix, holding: Array(repeating: 0, count: size))
            #expect(try CredentialsFile.kept(CredentialsDocument.self, at: path) == nil)
            try CredentialsFile(creating: path).write(Self.document)
            #expect(try CredentialsFile.kept(CredentialsDocument.self, at: path) == Self.document)
            #expect(FileFacts(path)?.mode == S_IFREG | 0o600)
            #expect(FileFacts(path + ".part") == nil)
        }
    }

    @Test("C7: a process that was killed between the two names of the file left it whole")
    func aSecondNameOfAWholeFileIsRemoved() throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/a.json"
            try CredentialsFile(creating: path).write(Self.document)
            try #require(unsafe link(path, path + ".part") == 0)
            #expect(try CredentialsFile.kept(CredentialsDocument.self, at: path) == Self.document)
            #expect(FileFacts(path + ".part") == nil)
            #expect(failure { _ = try CredentialsFile(creating: path) }?.status == .failed)
        }
    }

    @Test func twoProcessesDoNotWriteOneFile() throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/a.json"
            let first = try CredentialsFile(creating: path)
            #expect(failure { _ = try CredentialsFile(creating: path) }?.status == .lockBusy)
            try first.write(Self.document)
            #expect(try CredentialsFile.kept(CredentialsDocument.self, at: path) == Self.document)
        }
    }

    @Test("C7: a file that appeared meanwhile is never overwritten")
    func aFileThatAppearedMeanwhileIsLeftAlone() throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/a.json"
            let file = try CredentialsFile(creating: path)
            try PrivateFile.create(path, holding: Array("mine".utf8))
            #expect(failure { try file.write(Self.document) }?.status == .failed)
            #expect(try String(contentsOfFile: path, encoding: .utf8) == "mine")
        }
    }

    @Test(
        "M4: a file that others may read, or that holds something else, is not kept",
        arguments: ["mode", "text", "link"])
    func aDoubtfulFileIsNotKept(kind: String) throws {
        try withTemporaryDirectory { directory in
            let path = directory + "/a.json"
            switch kind {
            case "mode":
                try CredentialsFile(creating: path).write(Self.document)
                try #require(unsafe chmod(path, 0o640) == 0)
            case "text": try PrivateFile.create(path, holding: Array("{}".utf8))
            default:
                try CredentialsFile(creating: path + ".real").write(Self.document)
                try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: path + ".real")
            }
            let failed = failure { _ = try CredentialsFile.kept(CredentialsDocument.self, at: path) }
            #expect(failed?.status == .failed)
            #expect(FileFacts(path) != nil)
        }
    }

    @Test("M4: a service login's file of another login is refused; one that leads elsewhere is told")
    func aServiceFileIsComparedWithTheServiceLogin() throws {
        let url = "postgresql://svc:p@db:5432/app"
        let kept = ServiceCredentials(username: "svc", password: "p", connectionString: url)
        try kept.check("svc", "s.json")
        #expect(failure { try kept.check("cloacina_service", "s.json") }?.message.contains("svc") == true)
        var answer = BootstrapAnswer(
            database: "app", serverVersion: 150_000, serviceRole: "svc", tenantsRole: "grp", version: 1,
            appliedMigrations: [], createdRoles: [], warnings: [], hardened: true, hardeningStatements: [])
        func endpoint(_ host: String) -> PostgresEndpoint {
            PostgresEndpoint(host: host, port: 5432, database: "app", user: "adm", options: [:], isEncrypted: false)
        }
        #expect(kept.warnings(answer, endpoint("db")).isEmpty)
        #expect(kept.warnings(answer, endpoint("other")).count == 1)
        answer = BootstrapAnswer(
            database: "app", serverVersion: 150_000, serviceRole: "svc", tenantsRole: "grp", version: 1,
            appliedMigrations: [], createdRoles: ["svc"], warnings: [], hardened: true, hardeningStatements: [])
        #expect(kept.warnings(answer, endpoint("db")).count == 1)
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
