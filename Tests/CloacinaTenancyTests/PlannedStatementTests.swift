import CloacinaPostgres
import CloacinaSchema
import Testing

@testable import CloacinaTenancy

@Suite struct PlannedStatementTests {
    private func sql(_ serverVersion: Int, engineAccess: Bool = false) throws -> ProvisioningSQL {
        ProvisioningSQL(
            roles: TenantRoles(try TenantName("acme")), schema: "acme", serviceRole: "svc", tenantsRole: "grp",
            database: "app", engineAccess: engineAccess, serverVersion: serverVersion)
    }

    @Test func rolesAreMadeWithQuotedNames() throws {
        #expect(
            try self.sql(150_000).roleStatements == [
                #"CREATE ROLE "acme_owner" NOLOGIN"#,
                #"CREATE ROLE "acme_runtime" NOLOGIN"#,
                #"CREATE ROLE "acme_engine" NOLOGIN IN ROLE "acme_runtime""#,
                #"CREATE ROLE "acme_a" LOGIN IN ROLE "acme_runtime""#,
                #"CREATE ROLE "acme_b" NOLOGIN IN ROLE "acme_runtime""#,
                #"ALTER ROLE "acme_a" SET search_path TO "acme", pg_temp"#,
                #"ALTER ROLE "acme_b" SET search_path TO "acme", pg_temp"#,
                #"GRANT "acme_runtime" TO "svc""#,
                #"GRANT "acme_engine" TO "svc""#,
                #"GRANT "acme_owner" TO CURRENT_USER"#,
                #"GRANT "acme_engine" TO CURRENT_USER"#,
            ])
    }

    /// C5: no role that tenants share, on any version.
    @Test(arguments: [150_000, 160_000, 180_000])
    func loginsReachTheDatabaseThroughTheirOwnTenantsRole(serverVersion: Int) throws {
        let sql = try self.sql(serverVersion)
        #expect(!sql.roleStatements.contains { $0.contains("grp") })
        #expect(
            sql.connectStatements.suffix(2) == [
                #"GRANT CONNECT ON DATABASE "app" TO "acme_runtime""#,
                #"GRANT TEMPORARY ON DATABASE "app" TO "acme_owner""#,
            ])
        let removal = RemovalSQL(
            schema: "acme", owner: nil, roles: ["acme_runtime"], runtime: "acme_runtime", serviceRole: "svc",
            serverVersion: serverVersion)
        #expect(
            removal.connectStatements(database: "app").last?.contains(
                #"EXECUTE 'REVOKE CONNECT, TEMPORARY ON DATABASE "app" FROM "acme_runtime"'"#) == true)
    }

    @Test func loginsGetTheEnginesRoleOnlyWhenAsked() throws {
        #expect(
            try self.sql(150_000, engineAccess: true).roleStatements
                .contains(#"GRANT "acme_engine" TO "acme_a", "acme_b""#))
        #expect(
            try self.sql(160_000, engineAccess: true).roleStatements
                .contains(#"GRANT "acme_engine" TO "acme_a", "acme_b" WITH INHERIT TRUE, SET FALSE"#))
        #expect(
            EngineAccessSQL.statements(false, engine: "e", logins: ["a", "b"], serverVersion: 160_000)
                == [#"REVOKE "e" FROM "a", "b""#])
    }

    /// What the engine's migrations make, beside the history: a table that is missing here would be the tenant's to write.
    @Test func everyTableAndViewOfTheEngineIsKnown() throws {
        let texts = try MigrationSet.embedded(.tenant).migrations.flatMap { $0.up.map(\.text) }
        func made(_ kind: String) -> [String] {
            texts.filter { $0.hasPrefix("CREATE \(kind) ") }.map { String($0.split { $0 == " " || $0 == "\n" }[2]) }
        }
        #expect(made("TABLE").sorted() == PrivilegeSQL.engineTables.sorted())
        #expect((made("VIEW") + ["cloacina_migrations"]).sorted() == PrivilegeSQL.readable.sorted())
    }

    @Test func fromPostgres16MembershipsSayThatTheyDoNotInherit() throws {
        let statements = try self.sql(160_000).roleStatements
        #expect(statements.contains(#"GRANT "acme_runtime" TO "svc" WITH INHERIT FALSE, SET TRUE"#))
        #expect(statements.contains(#"GRANT "acme_owner" TO CURRENT_USER WITH INHERIT FALSE, SET TRUE"#))
        // The owners' group only lends a right; nobody acts as it.
    }

    @Test("M6: a verifier is in the last statement of a flush by itself", arguments: [140_000, 150_000, 180_000])
    func theVerifierIsInTheLastStatementAlone(version: Int) {
        let statements = PasswordSQL.statements(login: "acme_a", verifier: "SCRAM-SHA-256$x", serverVersion: version)
        #expect(statements.last?.sql == #"ALTER ROLE "acme_a" LOGIN PASSWORD 'SCRAM-SHA-256$x'"#)
        #expect(statements.dropLast().allSatisfy { !$0.sql.contains("SCRAM") })
        #expect(!PasswordSQL.planned("acme_a").contains("SCRAM"))
    }

    @Test("L4: what a login did to itself is taken back, in each database, and its limits hold again")
    func repairingALoginResetsItsSettings() throws {
        let login = LoginSQL(login: "acme_a", schema: "acme", limits: try StoredLimits(TenantLimits()))
        let statements = login.repair(databases: ["a\"b"], serverVersion: 150_000)
        #expect(
            statements.prefix(4) == [
                #"ALTER ROLE "acme_a" RESET ALL"#, #"ALTER ROLE "acme_a" IN DATABASE "a""b" RESET ALL"#,
                #"ALTER ROLE "acme_a" SET search_path TO "acme", pg_temp"#, #"ALTER ROLE "acme_a" CONNECTION LIMIT 40"#,
            ])
        #expect(statements.contains { $0.contains("SET statement_timeout") })
    }

    @Test func removalNamesOnlyTheRolesThatAreLeft() {
        let sql = RemovalSQL(
            schema: "acme", owner: nil, roles: ["acme_b"], serviceRole: "svc", serverVersion: 150_000)
        #expect(sql.membershipStatements == [#"GRANT "acme_b" TO CURRENT_USER"#])
        #expect(sql.roles.map(sql.shut) == [#"ALTER ROLE "acme_b" NOLOGIN CONNECTION LIMIT 0"#])
        #expect(sql.revocationStatements == [#"REVOKE "acme_b" FROM "svc""#])
        #expect(sql.actAsOwner.isEmpty)
        #expect(sql.dropRolesStatements == [#"DROP ROLE "acme_b""#])
        let none = RemovalSQL(schema: "acme", owner: nil, roles: [], serviceRole: "svc", serverVersion: 150_000)
        #expect(
            none.membershipStatements.isEmpty && none.revocationStatements.isEmpty && none.dropRolesStatements.isEmpty)
    }

    @Test func fromPostgres16TheAdministratorAsksToInheritWhatItRemoves() {
        let sql = RemovalSQL(
            schema: "acme", owner: nil, roles: ["acme_b"], serviceRole: "svc", serverVersion: 160_000)
        #expect(sql.membershipStatements == [#"GRANT "acme_b" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE"#])
    }

    @Test func aSchemaIsDroppedInPartsThatFitTheLockTable() {
        let relations = (1...10).map { SchemaRelation(name: "t\($0)", kind: $0 == 10 ? "VIEW" : "TABLE", locks: 4) }
        let chunks = SchemaRelation.chunks(relations, budget: 12)
        #expect(chunks.map(\.count) == [3, 3, 3, 1])
        #expect(SchemaRelation.chunks(relations, budget: 1).count == 10)
        #expect(SchemaRelation.chunks([], budget: 1).isEmpty)
        let sql = RemovalSQL(
            schema: "a", owner: "a_owner", roles: ["a_owner"], serviceRole: "svc", serverVersion: 150_000)
        #expect(
            sql.drop(Array(relations[8...])) == [
                #"DROP TABLE IF EXISTS "a"."t9" CASCADE"#, #"DROP VIEW IF EXISTS "a"."t10" CASCADE"#,
            ])
    }

    @Test func bindsAreWrittenInPlace() {
        let statement = PostgresStatement(
            "SELECT $1, $2, $10, $11",
            [.text("it's"), .int32(2)] + Array(repeating: .null, count: 7) + [.textArray(["a"]), .bool(true)])
        #expect(PlannedSQL.text(of: statement) == "SELECT 'it''s', 2, ARRAY['a'], true")
    }
}
