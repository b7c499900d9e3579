import CloacinaPostgres
import CloacinaTenancy
import Foundation
import Glibc
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// The attack log: where the command writes a secret.
    @Suite(.serialized, .attackedTenants, .timeLimit(.minutes(40))) struct AttackLogCommandTests {
        /// What stands where the credentials file was to be: by then there is no new secret, and nobody gets one.
        @Test(arguments: [
            "file", "link", "dangling", "pipe", "directory", "/dev/stdout", "/proc/self/fd/1", "/dev/null",
        ])
        func aCredentialsFileIsNothingElse(kind: String) async throws {
            let tenants = try AttackedTenants.shared()
            try await AdminCommand.with { command in
                let path = kind.hasPrefix("/") ? kind : command.path("acme.json")
                let real = command.path("real")
                try PrivateFile.create(real, holding: Array("mine".utf8))
                switch kind {
                case "file": try PrivateFile.create(path, holding: Array("mine".utf8))
                case "link": try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: real)
                case "dangling":
                    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: real + "-not")
                case "pipe": try #require(unsafe mkfifo(path, 0o600) == 0)
                case "directory":
                    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
                default: break
                }
                let answer = try await command.run(
                    "tenant", "reissue", tenants.me, "--credentials-file", path, "--output", "json")
                #expect(answer.status == 1, "\(answer.notes)")
                #expect(!answer.output.contains("postgresql://"))
                #expect(try String(contentsOfFile: kind == "file" ? path : real, encoding: .utf8) == "mine")
                #expect(FileFacts(real + "-not") == nil && FileFacts(path + ".part") == nil)
            }
            // The old secret is in force still.
            try await TenantFixture.withTenant(tenants.attacker) { try await $0.query("SELECT 1") }
        }

        @Test(arguments: ["000", "777"])
        func aCredentialsFileIsPrivateWhateverTheUmaskIs(umask: String) async throws {
            let tenants = try AttackedTenants.shared()
            try await AdminCommand.with { command in
                var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("PG") }
                environment[ConnectionOptions.environmentVariable] = try command.url().string
                let path = command.path("other.json")
                let arguments = ["tenant", "reissue", tenants.them, "--credentials-file", path]
                let answer = try await ChildProcess.run(
                    ["/bin/sh", "-c", "umask \(umask) && exec \"$@\"", "sh", try AdminProgram.path()] + arguments,
                    environment: environment, log: command.path("log"))
                #expect(answer.status == 0, "\(answer.output)")
                #expect(FileFacts(path)?.mode == S_IFREG | 0o600)
                let document = try command.document("other.json")
                #expect(!answer.output.contains(document.password))
                try await PostgresConnection.withConnection(PostgresConfiguration(document.connectionString)) {
                    _ = try await $0.query("SELECT 1")
                }
            }
        }
    }

    /// The attack log: the development server, which every test of this package uses, from outside.
    @Suite(.serialized, .privateServer, .timeLimit(.minutes(40))) struct AttackLogDevelopmentServerTests {
        @Test func theDevelopmentServerIsClosedToOthers() async throws {
            let server = try #require(PrivateServer.current).access
            let (directory, data) = (server.directory, server.directory + "/data")
            let modes: [(String, mode_t)] = [
                ("data", S_IFDIR | 0o700), ("state.json", S_IFREG | 0o600), ("server.log", S_IFREG | 0o600),
                ("setup.log", S_IFREG | 0o600), ("lock", S_IFREG | 0o600),
            ]
            for (name, mode) in modes { #expect(FileFacts("\(directory)/\(name)")?.mode == mode, "\(name)") }
            let rules = try Self.text(data + "/pg_hba.conf").split(separator: "\n").filter { !$0.hasPrefix("#") }
            #expect(!rules.isEmpty && rules.allSatisfy { $0.split(separator: " ").last == "scram-sha-256" }, "\(rules)")
            try await PostgresConnection.withConnection(server.superuser) { connection in
                let settings: [String] = try await connection.query(
                    """
                    SELECT current_setting(name) AS setting
                    FROM unnest('{listen_addresses,password_encryption,unix_socket_directories}'::text[]) AS name
                    """
                ).column("setting")
                #expect(settings.prefix(2) == ["127.0.0.1", "scram-sha-256"])
                let sockets = try #require(settings.last)
                #expect(FileFacts(sockets)?.mode == S_IFDIR | 0o700)
            }
            // Neither the two passwords nor their URLs are told to anybody who looks at processes and logs.
            let process = try #require(try Self.text(data + "/postmaster.pid").split(separator: "\n").first)
            for url in [server.administratorURL, server.superuserURL] {
                let password = try #require(URLComponents(string: url)?.password)
                #expect(password.count >= 32)
                for path in [
                    "/proc/\(process)/cmdline", "/proc/\(process)/environ", directory + "/server.log",
                    directory + "/setup.log", data + "/postgresql.conf", data + "/postgresql.auto.conf",
                ] {
                    // Byte by byte: the log of all tests is long.
                    let bytes = try Data(contentsOf: URL(filePath: path))
                    #expect(bytes.range(of: Data(password.utf8)) == nil, "\(path)")
                }
            }
        }

        @Test func noPasswordIsInTheServersFiles() async throws {
            try await withPrivateDatabase { server in
                let (name, chosen) = (TenantFixture.name(), "Sesame-" + TenantFixture.name())
                try await TenantFixture.withAdmin { admin in
                    let made = try await admin.createTenant(TenantConfig(name: name))
                    var options = ReissueOptions()
                    options.password = chosen
                    try await admin.reissueCredentials(forTenant: name, options: options)
                    try await TenantFixture.withSuperuser { try await $0.script("CHECKPOINT") }
                    // What is looked for could have been found: the tenant's name is.
                    for (text, isThere) in [(name, true), (made.password, false), (chosen, false)] {
                        let answer = try await ChildProcess.run(
                            ["/bin/sh", "-c", "exec grep -rqF -e \"$1\" \"$2\"", "sh", text, server.access.directory],
                            environment: ["PATH": "/usr/bin:/bin"],
                            log: server.directory + "/" + TestDatabase.uniqueName("grep"))
                        #expect((answer.status == 0) == isThere, "\(answer.output)")
                    }
                    try await admin.removeTenant(named: name)
                }
            }
        }

        private static func text(_ path: String) throws -> String {
            String(decoding: try Data(contentsOf: URL(filePath: path)), as: UTF8.self)
        }
    }
}
