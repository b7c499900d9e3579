import CloacinaPostgres
import FoundationEssentials
import Testing

@testable import CloacinaTenancy

@Suite struct SecretTests {
    private let credentials = TenantCredentials(
        tenant: "acme", schema: "acme", username: "acme_a", password: "s3cret",
        connectionString: "postgresql://acme_a:s3cret@db:5432/app")

    @Test func descriptionsOfCredentialsHoldNoPassword() {
        var dumped = ""
        dump(self.credentials, to: &dumped)
        let texts = [
            "\(self.credentials)", String(reflecting: self.credentials), String(describing: [self.credentials]),
            "\(Optional(self.credentials) as Any)", dumped,
        ]
        for text in texts { #expect(!text.contains("s3cret")) }
    }

    @Test func credentialsEncodeToExactlyFiveKeys() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let json = String(decoding: try encoder.encode(self.credentials), as: UTF8.self)
        #expect(
            json == """
                {"connectionString":"postgresql://acme_a:s3cret@db:5432/app","password":"s3cret","schema":"acme",\
                "tenant":"acme","username":"acme_a"}
                """)
    }

    @Test func descriptionsOfConfigurationsHoldNoPassword() {
        var config = TenantConfig(name: "acme")
        config.password = "s3cret"
        var options = BootstrapOptions()
        options.servicePassword = "s3cret"
        var dumped = ""
        dump(config, to: &dumped)
        dump(options, to: &dumped)
        for text in ["\(config)", String(reflecting: config), "\(options)", String(reflecting: options), dumped] {
            #expect(!text.contains("s3cret"))
        }
    }

    @Test(arguments: [
        (
            "CREATE ROLE a PASSWORD 'SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy' IN ROLE b",
            "CREATE ROLE a PASSWORD '********' IN ROLE b"
        ),
        ("SCRAM-SHA-256$1:a$b:c and SCRAM-SHA-256$2:d$e:f", "******** and ********"),
        ("nothing secret", "nothing secret"),
    ])
    func verifiersAreMasked(text: String, masked: String) {
        #expect(SecretMask.mask(text) == masked)
    }

    @Test func theDebugDescriptionOfAnErrorMasksVerifiers() {
        let below = PostgresError(
            .rejectedByServer, sqlState: "42710", statement: "… PASSWORD 'SCRAM-SHA-256$4096:a$b:c'")
        let error = AdminError(below, tenant: "acme", step: "roles")
        #expect(error.code == .roleExists)
        #expect(!error.debugDescription.contains("4096"))
        #expect(error.debugDescription.contains("********"))
    }

    @Test(arguments: ["", "pässword", "a\u{0}b", String(repeating: "x", count: 513)])
    func unacceptablePasswordsAreRefusedBeforeAnythingIsSent(password: String) async {
        var config = TenantConfig(name: "acme")
        config.password = password
        // Nothing listens there: a connection would be another error.
        let admin = DatabaseAdmin(PostgresConfiguration("host=/nonexistent dbname=x"))
        let error = await #expect(throws: AdminError.self) { try await admin.createTenant(config) }
        #expect(error?.code == .passwordNotAcceptable)
        #expect(password.isEmpty || error?.debugDescription.contains(password) == false)
    }

    @Test(arguments: ["Acme", "a\"b", "pg_x", "a;b"])
    func unacceptableNamesAreRefusedBeforeAnythingIsSent(name: String) async {
        let admin = DatabaseAdmin(PostgresConfiguration("host=/nonexistent dbname=x"))
        let creation = await #expect(throws: AdminError.self) { try await admin.createTenant(TenantConfig(name: name)) }
        #expect(creation?.code == .invalidName)
        let removal = await #expect(throws: AdminError.self) { try await admin.removeTenant(named: name) }
        #expect(removal?.code == .tenantNotFound)
    }
}
