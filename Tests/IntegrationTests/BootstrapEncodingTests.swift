import CloacinaPostgres
import CloacinaTenancy
import Testing

extension ServerTests {
    /// A database that would refuse some text, or forget what it committed, is noticed before tenants are in it.
    @Suite struct BootstrapEncodingTests {
        @Test(arguments: ["LATIN1", "SQL_ASCII", "EUC_JP"])
        func aDatabaseOfAnotherEncodingIsRefusedAndLeftAsItWas(encoding: String) async throws {
            try await Self.withDatabase(encoding: encoding) { database in
                let error = try await Self.refusal(of: database)
                #expect(error.code == .unsupportedEncoding)
                #expect(error.message.contains(database.name))
                #expect(error.message.contains(" \(encoding),"))
                #expect(error.message.contains("TEMPLATE template0 ENCODING 'UTF8'"))
                try await PostgresConnection.withConnection(database.superuser) { connection in
                    let schema = try await connection.query("SELECT to_regnamespace('cloacina') IS NULL")
                    #expect(try schema.single(as: Bool.self))
                }
            }
        }

        @Test func theStatementThatTheRefusalNamesMakesADatabaseThatIsAccepted() async throws {
            try await Self.withDatabase(encoding: "LATIN1") { database in
                let message = try await Self.refusal(of: database).message
                let begin = try #require(message.firstRange(of: "CREATE DATABASE")).lowerBound
                let statement = PostgresStatement(String(message[begin...]), prepared: false)
                try await PostgresConnection.withConnection(database.server.superuser) {
                    _ = try await $0.query(statement)
                }
                let other = TestDatabase(server: database.server, name: database.name + "_utf8")
                try await Self.dropping(other) {
                    let admin = DatabaseAdmin(other.administrator)
                    let report = try await admin.bootstrap()
                    await admin.close()
                    #expect(report.database == other.name)
                    #expect(report.warnings.allSatisfy { $0.contains("in other databases of this server") })
                }
            }
        }

        @Test func aDatabaseThatDoesNotWaitForTheDiskIsWarnedOf() async throws {
            let name = try #require(TestDatabase.current).name
            try await TenantFixture.withSuperuser {
                try await $0.script("ALTER DATABASE \(PostgresIdentifier.quote(name)) SET synchronous_commit = no")
            }
            try await TenantFixture.withAdmin(bootstrap: false) { admin in
                let report = try await admin.bootstrap()
                #expect(report.warnings.contains { $0.contains("synchronous_commit is off") })
            }
        }

        @Test func aTenantsLoginThatDoesNotWaitForTheDiskIsWarnedOf() async throws {
            let name = TenantFixture.name()
            let database = PostgresIdentifier.quote(try #require(TestDatabase.current).name)
            try await TenantFixture.withAdmin { admin in
                let login = PostgresIdentifier.quote(
                    try await admin.createTenant(TenantFixture.config(name)).username)
                // The group of the logins is the whole server's: other tests look at it too.
                try await TenantFixture.withSuperuser {
                    try await $0.script("ALTER ROLE \(login) IN DATABASE \(database) SET synchronous_commit = off")
                }
                let report = try await admin.bootstrap()
                try await admin.removeTenant(named: name)
                #expect(report.warnings.contains { $0.contains("synchronous_commit is off") })
            }
        }

        // MARK: Databases

        private static func refusal(of database: TestDatabase) async throws -> AdminError {
            let admin = DatabaseAdmin(database.administrator)
            let error = await #expect(throws: AdminError.self) { try await admin.bootstrap() }
            await admin.close()
            return try #require(error)
        }

        /// Lends a database of another encoding, the administrator's own.
        private static func withDatabase(
            encoding: String, _ body: (TestDatabase) async throws -> Void
        ) async throws {
            let current = try #require(TestDatabase.current)
            let database = TestDatabase(server: current.server, name: TestDatabase.uniqueName("test"))
            let owner = try await PostgresConnection.withConnection(current.administrator) { $0.endpoint.user }
            let sql = """
                CREATE DATABASE \(PostgresIdentifier.quote(database.name)) OWNER \(PostgresIdentifier.quote(owner))
                TEMPLATE template0 ENCODING \(PostgresIdentifier.literal(encoding)) LOCALE 'C'
                """
            try await PostgresConnection.withConnection(database.server.superuser) {
                _ = try await $0.query(PostgresStatement(sql, prepared: false))
            }
            try await self.dropping(database) { try await body(database) }
        }

        private static func dropping(_ database: TestDatabase, _ body: () async throws -> Void) async throws {
            do {
                try await body()
                try await database.drop()
            } catch {
                try? await database.drop()
                throw error
            }
        }
    }
}
