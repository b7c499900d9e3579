import Testing

@testable import CloacinaPostgres
@testable import CloacinaTenancy

@Suite struct ConnectionURLTests {
    private func url(
        host: String, port: Int = 5432, database: String = "app", options: [String: String] = [:],
        user: String = "acme_a",
        password: String = "pw", isEncrypted: Bool = false
    ) -> String {
        let endpoint = PostgresEndpoint(
            host: host, port: port, database: database, user: "admin", options: options, isEncrypted: isEncrypted)
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

    @Test(
        "L3: what the administrator's connection demands, a tenant's demands too",
        arguments: [
            (["channel_binding": "require"], "channel_binding=require"),
            (["ssl_min_protocol_version": "TLSv1.3"], "ssl_min_protocol_version=TLSv1.3"),
            (["ssl_max_protocol_version": "TLSv1.2"], "ssl_max_protocol_version=TLSv1.2"),
            (["require_auth": "scram-sha-256"], "require_auth=scram-sha-256"),
            (["require_auth": "!password,!md5"], "require_auth=%21password%2C%21md5"),
            (["require_auth": "gss,scram-sha-256"], "require_auth=gss%2Cscram-sha-256"),
        ])
    func demandsAreInherited(options: [String: String], query: String) {
        #expect(self.url(host: "db", options: options) == "postgresql://acme_a:pw@db:5432/app?\(query)")
    }

    @Test(
        "L3: what only the administrator's own login can meet, or libpq assumes anyway, is left out",
        arguments: [
            ["require_auth": "gss"], ["require_auth": "!scram-sha-256"], ["require_auth": ""],
            ["ssl_min_protocol_version": "TLSv1.2"], ["channel_binding": "prefer"],
        ])
    func whatATenantCannotMeetIsLeftOut(options: [String: String]) {
        #expect(self.url(host: "db", options: options) == "postgresql://acme_a:pw@db:5432/app")
    }

    @Test(
        "L3: what was encrypted without being asked to is required of a tenant",
        arguments: [nil, "", "prefer", "allow"])
    func encryptionThatWasFoundIsRequired(mode: String?) {
        let options = mode.map { ["sslmode": $0] } ?? [:]
        #expect(
            self.url(host: "db", options: options, isEncrypted: true)
                == "postgresql://acme_a:pw@db:5432/app?sslmode=require")
        #expect(
            self.url(host: "db", options: ["sslmode": "verify-ca"], isEncrypted: true)
                == "postgresql://acme_a:pw@db:5432/app?sslmode=verify-ca")
    }

    @Test func everythingThatCouldEndAPartIsEncoded() {
        #expect(
            self.url(host: "db", database: "a b/c?d", password: "p@s:s/w#o%r&d+ü")
                == "postgresql://acme_a:p%40s%3As%2Fw%23o%25r%26d%2B%C3%BC@db:5432/a%20b%2Fc%3Fd")
    }
}
