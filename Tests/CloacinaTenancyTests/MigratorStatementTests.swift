import CloacinaPostgres
import Testing

@testable import CloacinaTenancy

/// C8: the statements about the login over which files run.
@Suite struct MigratorStatementTests {
    @Test("C8: a login's name is its own, and of a kind that a rule of the server's can name")
    func aLoginIsNamedByTwelveHexadecimalDigits() throws {
        let names = try (0..<50).map { _ in try MigratorSQL.name() }
        #expect(Set(names).count == names.count)
        #expect(names.allSatisfy { $0.wholeMatch(of: /cloacina_migrator_[0-9a-f]{12}/) != nil })
    }

    @Test(
        "C8: a login is made without any right, for one session and a while, and can't log in before its password is set"
    )
    func aLoginIsMadeWithoutRights() throws {
        let statements = MigratorSQL.creation("m", mark: "mark's", until: "2030-01-01 00:00:00+00", database: "app")
            .map(\.sql)
        #expect(
            statements[2]
                == #"CREATE ROLE "m" NOLOGIN NOINHERIT NOCREATEROLE NOCREATEDB NOSUPERUSER NOREPLICATION NOBYPASSRLS "#
                + "CONNECTION LIMIT 1 VALID UNTIL '2030-01-01 00:00:00+00'")
        #expect(statements[3] == #"COMMENT ON ROLE "m" IS 'mark''s'"#)
        #expect(statements.last == #"GRANT CONNECT ON DATABASE "app" TO "m""#)
    }

    @Test(
        "C8: a membership lets the login act as the owner, and inherit nothing",
        arguments: [(150_000, ""), (160_000, " WITH INHERIT FALSE, SET TRUE")])
    func aMembershipIsToSetAlone(serverVersion: Int, options: String) {
        #expect(
            MigratorSQL.admit("m", to: "acme_owner", serverVersion: serverVersion).last?.sql
                == #"GRANT "acme_owner" TO "m""# + options)
        #expect(MigratorSQL.dismiss("m", from: "acme_owner")[1].sql == #"REVOKE "acme_owner" FROM "m""#)
    }
}
