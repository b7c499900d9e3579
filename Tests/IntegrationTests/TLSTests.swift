import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

@testable import cloacina_admin

extension ServerTests {
    /// Encrypted connections, on a server with a certificate made for it. The limit includes waiting for a place.
    @Suite(
        .timeLimit(.minutes(40)),
        .enabled(if: Certificate.hasProgram, "makes certificates with the openssl command, which is not on the PATH"),
        .enabled("the server under test is built without TLS") {
            try await Certificate.serverSays("ssl_library") != ""
        },
        .privateServer { place in
            let certificate = try await Certificate.make("server", in: place.directory)
            try place.handOver(certificate.key)
            return [
                ServerSetting("ssl", "on"), ServerSetting("ssl_cert_file", certificate.path),
                ServerSetting("ssl_key_file", certificate.key),
            ]
        })
    struct TLSTests {
        private let directory: String
        /// What the server shows, for `localhost`.
        private let certificate: Certificate

        init() throws {
            self.directory = try #require(PrivateServer.current).directory
            self.certificate = Certificate("server", in: self.directory)
        }

        /// An administrator's URL with libpq's options, by the host's name, whatever that resolves to.
        private func url(
            _ options: String, host: String = "localhost", of server: TestServer? = PrivateServer.current?.access
        ) throws -> String {
            let text = try #require(server).administratorURL
            var components = try #require(URLComponents(string: text))
            components.host = host
            components.percentEncodedQuery = "hostaddr=127.0.0.1&\(options)"
            return try #require(components.string)
        }

        /// Whether the server itself says that the session is encrypted.
        private static let asksTheServer: PostgresStatement = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"

        /// Both ends' word on whether a connection by this URL is encrypted.
        private func isEncrypted(_ url: String) async throws -> (here: Bool, there: Bool) {
            try await PostgresConnection.withConnection(PostgresConfiguration(url)) {
                ($0.endpoint.isEncrypted, try await $0.query(Self.asksTheServer).single())
            }
        }

        private func expectRefusal(of url: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
            let password = try #require(URLComponents(string: url)?.password)
            let error = await #expect(throws: PostgresError.self, sourceLocation: sourceLocation) {
                try await PostgresConnection.withConnection(PostgresConfiguration(url)) { _ in }
            }
            let pooled = await #expect(throws: PostgresError.self, sourceLocation: sourceLocation) {
                try await PostgresPool.withPool(PostgresPoolConfiguration(PostgresConfiguration(url))) { pool in
                    try await pool.withConnection(PostgresLabel(schema: "public")) { _ in }
                }
            }
            for error in [error, pooled] {
                #expect(error?.code == .connectionFailed, sourceLocation: sourceLocation)
                let texts = [String(describing: error), error?.debugDescription ?? "", String(reflecting: error)]
                #expect(!texts.contains { $0.contains(password) }, sourceLocation: sourceLocation)
            }
        }

        @Test func aRequiredEncryptionIsUsedByConnectionsAndPools() async throws {
            let configuration = PostgresConfiguration(try self.url("sslmode=require"))
            #expect(try await self.isEncrypted(configuration.connectionString) == (true, true))
            let long = String(repeating: "x", count: 1 << 20)
            let echo: String = try await PostgresConnection.withConnection(configuration) {
                try await $0.query("SELECT \(long)::text").single()
            }
            #expect(echo == long)
            var pooled = PostgresPoolConfiguration(configuration)
            pooled.maximumConnections = 3
            try await PostgresPool.withPool(pooled) { pool in
                try await withThrowingTaskGroup(of: Bool.self) { group in
                    for _ in 0..<20 {
                        group.addTask {
                            try await pool.withConnection(PostgresLabel(schema: "public")) {
                                try await $0.query(Self.asksTheServer).single()
                            }
                        }
                    }
                    for try await isEncrypted in group { #expect(isEncrypted) }
                }
                #expect(pool.statistics.discarded == 0)
            }
            #expect(try await self.isEncrypted(try self.url("sslmode=disable")) == (false, false))
        }

        @Test func aStatementOverTLSIsCancelledAndItsConnectionGoesOn() async throws {
            let configuration = PostgresConfiguration(try self.url("sslmode=require"))
            try await PostgresConnection.withConnection(configuration) { watcher in
                try await PostgresConnection.withConnection(configuration) { connection in
                    let sleeping = Task { _ = try await connection.query("SELECT pg_sleep(600)") }
                    try await watcher.waitUntil(
                        """
                        SELECT EXISTS (SELECT FROM pg_stat_activity
                                       WHERE pid = \(connection.backendPID) AND wait_event = 'PgSleep')
                        """)
                    sleeping.cancel()
                    let result = await sleeping.result
                    #expect { try result.get() } throws: { ($0 as? PostgresError)?.code == .cancelled }
                    #expect(try await connection.query("SELECT 6").single() == 6)
                }
            }
        }

        @Test func aVerifiedServerIsUsedAndATenantsURLVerifiesItToo() async throws {
            let options = "sslmode=verify-full&sslrootcert=\(self.certificate.path)"
            let admin = DatabaseAdmin(PostgresConfiguration(try self.url(options)))
            try await admin.bootstrap()
            #expect(try await admin.endpoint().isEncrypted)
            let credentials = try await admin.createTenant(TenantConfig(name: TenantFixture.name()))
            await admin.close()
            #expect(credentials.connectionString.hasSuffix("?" + options))
            // The host's name may resolve to an address where nobody listens.
            let direct = credentials.connectionString + "&hostaddr=127.0.0.1"
            #expect(try await self.isEncrypted(direct) == (true, true))
        }

        @Test(arguments: ["verify-ca", "verify-full"])
        func aServerThatCannotBeVerifiedIsRefusedWithoutASecret(mode: String) async throws {
            let other = try await Certificate.make(mode, in: self.directory)
            try await self.expectRefusal(of: try self.url("sslmode=\(mode)&sslrootcert=\(other.path)"))
            try await self.expectRefusal(of: try self.url("sslmode=\(mode)&sslrootcert=\(self.directory)/missing"))
        }

        @Test func aServerOfAnotherNameIsRefusedWhereTheNameCounts() async throws {
            let root = "sslrootcert=\(self.certificate.path)"
            try await self.expectRefusal(of: try self.url("sslmode=verify-full&\(root)", host: "db.invalid"))
            let byAuthority = try self.url("sslmode=verify-ca&\(root)", host: "db.invalid")
            #expect(try await self.isEncrypted(byAuthority) == (true, true))
        }

        @Test(.enabled("the server under test offers TLS") { try await Certificate.serverSays("ssl") != "on" })
        func aServerWithoutTLSIsRefusedWhereEncryptionIsRequired() async throws {
            try await self.expectRefusal(of: try self.url("sslmode=require", of: TestServer.configured))
        }
    }
}

/// A self-signed certificate, which is its own root.
struct Certificate: Sendable {
    let path: String
    let key: String

    private static let program = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        .map { $0 + "/openssl" }.first { FileManager.default.isExecutableFile(atPath: $0) }

    static var hasProgram: Bool { self.program != nil }

    init(_ name: String, in directory: String) {
        self.path = "\(directory)/\(name).crt"
        self.key = "\(directory)/\(name).key"
    }

    /// A setting of the tests' shared server; one with the same binaries is what these tests start.
    static func serverSays(_ setting: String) async throws -> String? {
        guard let server = TestServer.configured else { return nil }
        return try await PostgresConnection.withConnection(server.superuser) {
            try await $0.query("SELECT current_setting(\(setting))").single()
        }
    }

    /// Makes one for the host `localhost`.
    static func make(_ name: String, in directory: String) async throws -> Certificate {
        let made = Certificate(name, in: directory)
        let answer = try await ChildProcess.run(
            [
                try #require(self.program), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes", "-keyout", made.key, "-out", made.path, "-days", "2", "-subj", "/CN=localhost", "-addext",
                "subjectAltName=DNS:localhost",
            ], environment: ["PATH": "/usr/bin:/bin"], log: "\(directory)/\(name).log")
        try #require(answer.status == 0, "openssl: \(answer.output)")
        return made
    }
}
