import Testing

@testable import CloacinaPostgres
@testable import CloacinaTenancy

@Suite struct ConnectionURLTests {
    private func url(
        host: String, port: Int = 5432, database: String = "app", options: [String: String] = [:],
        user: String = "acme_a",
        password: String = "pw"
    ) -> String {
        let endpoint = PostgresEndpoint(
            host: host, port: port, database: database, user: "admin", options: options, isEncrypted: false)
        return ConnectionURL.make(endpoint: endpoint, user: user, password: password)
    }

    @Test func hostPortAndDatabaseAreTheAdministrators() {
        #expect(self.url(host: "db.internal", port: 6000) == "postgresql://acme_a:pw@db.internal:6000/app")
    }

    @Test func aSocketDirectoryGoesIntoTheQuery() {
        #expect(self.url(host: "/run/pg socket") == "postgresql://acme_a:pw@/app?host=/run/pg%20socket&port=5432")
    }

    @Test func anAddressOfIPv6IsBracketed() {
        #expect(self.url(host: "::1") == "postgresql://acme_a:pw@[::1]:5432/app")
    }

    @Test func transportSecurityIsInheritedAndNothingPersonal() {
        let options = [
            "sslmode": "verify-full", "sslrootcert": "/etc/ca.pem", "sslkey": "/home/admin/key", "passfile": "x",
        ]
        #expect(
            self.url(host: "db", options: options)
                == "postgresql://acme_a:pw@db:5432/app?sslmode=verify-full&sslrootcert=/etc/ca.pem")
        #expect(self.url(host: "db", options: ["sslmode": "prefer"]) == "postgresql://acme_a:pw@db:5432/app")
    }

    @Test func everythingThatCouldEndAPartIsEncoded() {
        #expect(
            self.url(host: "db", database: "a b/c?d", password: "p@s:s/w#o%r&d+ü")
                == "postgresql://acme_a:p%40s%3As%2Fw%23o%25r%26d%2B%C3%BC@db:5432/a%20b%2Fc%3Fd")
    }
}
