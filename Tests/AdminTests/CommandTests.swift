import ArgumentParser
import CloacinaTenancy
import Testing

@testable import CloacinaPostgres
@testable import cloacina_admin

@Suite struct CommandTests {
    @Test(arguments: [
        ["bootstrap"], ["bootstrap", "--service-credentials-file", "s.json", "--yes"],
        ["tenant", "create", "acme"], ["tenant", "create", "acme", "--credentials-file", "a.json", "--if-not-exists"],
        ["tenant", "create", "acme", "--schema", "data", "--migrations", "m=app", "--dry-run", "--output", "json"],
        ["tenant", "create", "acme", "--password-stdin", "--database-url", "postgresql://h/d"],
        ["tenant", "create", "acme", "--connections", "10", "--statement-timeout", "30s", "--temp-file-limit", "none"],
        ["tenant", "limits", "acme"], ["tenant", "limits", "acme", "--lock-timeout", "5s", "--dry-run"],
        ["bootstrap", "--harden"], ["dev", "start", "--forget-settings"],
        ["tenant", "list", "--output", "ndjson"], ["tenant", "show", "acme", "--output", "json"],
        ["tenant", "create", "acme", "--engine-access"], ["tenant", "access", "acme", "--engine"],
        ["tenant", "access", "acme", "--no-engine", "--output", "json"],
        ["tenant", "drop", "acme", "--confirm", "acme"], ["tenant", "drop", "acme", "--dry-run"],
        ["tenant", "reissue", "acme", "--credentials-file", "acme-2.json", "--end-sessions"],
        ["tenant", "reissue", "acme", "--dry-run"], ["bootstrap", "--service-role", "svc", "--adopt-service-role"],
        ["tenant", "drop", "acme", "--cascade", "--patience", "5", "--dry-run"], ["tenant", "adopt", "acme"],
        ["migrate", "apply"], ["migrate", "apply", "--tenant", "acme", "--migrations", "a", "--migrations", "b=x"],
        ["migrate", "status", "--tenant", "acme", "--output", "json"],
        ["migrate", "apply", "--allow-out-of-order"], ["migrate", "apply", "--allow-repeated", "--dry-run"],
        ["migrate", "rebless", "--tenant", "acme", "app/0002", "--migrations", "a=app"],
        ["migrate", "rebless", "--all-tenants", "app/2"], ["migrate", "apply", "--files-as-administrator"],
        ["tenant", "create", "acme", "--files-as-administrator"],
        ["migrate", "rebless", "--all-tenants", "app/2", "--files-as-administrator"],
        ["migrate", "resolve", "--tenant", "acme", "app/2", "--as", "rerun", "--files-as-administrator"],
        ["migrate", "resolve", "--tenant", "acme", "app/0002_keys", "--as", "applied"],
        ["migrate", "resolve", "--tenant", "acme", "app/2", "--as", "rerun"],
        ["dev", "start", "--output", "json"], ["dev", "stop", "--directory", "d"], ["dev", "status"],
    ])
    func commandLinesOfTheDocumentationAreUnderstood(_ arguments: [String]) throws {
        #expect(throws: Never.self) { _ = try CloacinaAdmin.parseAsRoot(arguments) }
    }

    @Test(arguments: [
        ["tenant", "create"], ["tenant", "create", "Acme"], ["tenant", "create", "pg_x"], ["tenant", "create", "a;b"],
        ["tenant", "create", ""], ["tenant", "create", "acme", "--password", "x"],
        ["tenant", "create", "acme", "--password-stdin", "--password-file", "p"],
        ["tenant", "create", "acme", "--migrations", "a/m", "--migrations", "b/m"],
        ["tenant", "limits", "acme", "--connections", "0"], ["tenant", "limits", "acme", "--lock-timeout", "5"],
        ["tenant", "drop", "acme", "--confirm", "acm"], ["tenant", "drop"], ["tenant", "show"],
        ["tenant", "drop", "acme", "--patience", "0"], ["tenant", "drop", "acme", "--patience", "9999999"],
        ["tenant", "adopt"],
        ["tenant", "access", "acme"], ["tenant", "access", "--engine"],
        ["migrate", "apply", "--migrations", "="], ["migrate", "apply", "--output", "yaml"], ["migrate", "down"],
        ["migrate", "rebless", "app/2"], ["migrate", "rebless", "app/2", "--tenant", "acme", "--all-tenants"],
        ["migrate", "resolve", "--tenant", "acme", "app/2"], ["migrate", "resolve", "app/2", "--as", "applied"],
        ["migrate", "resolve", "--tenant", "acme", "app", "--as", "applied"],
        ["migrate", "resolve", "--tenant", "acme", "app/x", "--as", "applied"],
        ["migrate", "resolve", "--tenant", "acme", "app/2", "--as", "done"],
    ])
    func contradictionsAndNonsenseEndWithTwoBeforeAnythingIsTried(_ arguments: [String]) async {
        let collector = Collector()
        let outcome = await CommandRunner(console: collector.console(terminal: false)).run(arguments)
        #expect(outcome == CommandRunner.Outcome(status: 2))
        #expect(collector.data.isEmpty)
        #expect(collector.notes.contains("Usage:"))
    }

    @Test func theTargetNamesHostDatabaseRoleAndTenant() {
        #expect(
            Administration.line(host: "db", port: 5432, database: "app", role: "admin", tenant: "acme")
                == "target: host db, port 5432, database app, role admin, tenant acme")
        #expect(
            Administration.line(host: "", port: 5432, database: "a\u{1b}b", role: "admin", tenant: nil)
                == "target: host local socket, port 5432, database a\\u{1b}b, role admin")
    }
}

@Suite struct ConnectionWarningTests {
    @Test(
        "L3: a connection that is plain TCP is warned about",
        arguments: [("db", false, true), ("127.0.0.1", false, true), ("db", true, false), ("/run", false, false)])
    func plainTCPIsWarnedAbout(host: String, isEncrypted: Bool, isWarned: Bool) {
        let endpoint = PostgresEndpoint(
            host: host, port: 5432, database: "app", user: "adm", options: [:], isEncrypted: isEncrypted)
        #expect((Administration.warning(endpoint) != nil) == isWarned)
    }
}

@Suite struct MigrationAnswerTests {
    static let shared = Self.line(nil, "cloacina", current: true)
    static let acme = Self.line("acme", "acme", pending: ["cloacina/0002_more", "app/0001_zones"])

    static func line(
        _ tenant: String?, _ schema: String, state: String = "active", pending: [String] = [],
        problems: [TenantMigrationProblem] = [], current: Bool = false
    ) -> MigrationStatusAnswer {
        MigrationStatusAnswer(
            tenant: tenant, schema: schema, state: state, version: 1, versions: ["cloacina": 1], pending: pending,
            problems: problems, current: current)
    }

    static let late = TenantMigrationProblem(
        kind: .late, migration: "app/0002_late", advice: "it came late", isBlocking: true)

    @Test(arguments: [
        ([Self.shared], CommandStatus.done), ([Self.shared, Self.acme], .pending),
        ([Self.line(nil, "cloacina", pending: ["cloacina/0002_more"])], .pending),
        ([Self.shared, Self.line("acme", "acme", problems: [Self.late])], .pending),
        ([Self.shared, Self.line("acme", "acme", state: "creating", pending: ["x"])], .pending),
        ([Self.shared, Self.line("acme", "acme", state: "creating", current: true)], .done),
        ([Self.shared, Self.line("acme", "acme", state: "removing", pending: ["x"])], .done),
    ])
    func statusIsThreeWhenASchemaIsNotCurrent(_ lines: [MigrationStatusAnswer], _ status: CommandStatus) {
        #expect(MigrationStatusAnswer.status(of: lines) == status)
    }

    @Test func statusIsAnArrayOfStableObjects() throws {
        #expect(
            try [Self.shared, Self.line("acme", "acme", pending: ["app/0002_late"], problems: [Self.late])].map {
                try Renderer.json($0, indented: false)
            } == [
                #"{"current":true,"pending":[],"problems":[],"schema":"cloacina","state":"active","version":1,"#
                    + #""versions":{"cloacina":1}}"#,
                #"{"current":false,"pending":["app/0002_late"],"problems":[{"advice":"it came late","isBlocking":true,"#
                    + #""kind":"late","migration":"app/0002_late"}],"schema":"acme","state":"active","tenant":"acme","#
                    + #""version":1,"versions":{"cloacina":1}}"#,
            ])
    }

    @Test func statusAsATable() throws {
        let collector = Collector()
        try Renderer(collector.console(terminal: false), .table).show([Self.shared, Self.acme])
        #expect(
            collector.data == """
                tenant    schema    state   versions    pending                             problems
                (shared)  cloacina  active  cloacina 1  -                                   -
                acme      acme      active  cloacina 1  cloacina/0002_more, app/0001_zones  -

                """)
    }

    /// X5: what `apply` refuses, its dry run doesn't print.
    @Test func aBlockedTenantHasNoPlan() throws {
        let lines = [Self.line("acme", "acme", pending: ["cloacina/0001_engine"], problems: [Self.late])]
        #expect(try MigrateApply.plan(lines, []).isEmpty)
        #expect(try !MigrateApply.plan([Self.line("acme", "acme", pending: ["cloacina/0001_engine"])], []).isEmpty)
    }

    static func result(_ outcome: String) -> MigrationResultAnswer {
        MigrationResultAnswer(tenant: "acme", schema: "acme", outcome: outcome, version: 1, applied: [])
    }

    @Test(arguments: [
        (["migrated", "current"], true, CommandStatus.done), (["migrated", "failed"], true, .someTenantsFailed),
        (["busy"], true, .someTenantsFailed), (["busy"], false, .lockBusy), (["failed"], false, .failed),
        (["migrated", "unreached"], true, .someTenantsFailed), (["skipped"], true, .done),
        (["skipped"], false, .failed),
        ([], true, .done),
    ])
    func aFleetFailsInPartAndATenantForItsReason(_ outcomes: [String], _ isFleet: Bool, _ status: CommandStatus) {
        #expect(MigrationResultAnswer.status(of: outcomes.map(Self.result), isFleet: isFleet) == status)
    }
}

@Suite struct TenantAnswerTests {
    static let acme = TenantAnswer(
        name: "acme", schema: "acme", state: "active", version: 3, versions: ["app": 7], id: "0", login: "acme_a",
        ownerRole: "acme_owner", runtimeRole: "acme_runtime", engineRole: "acme_engine", engineAccess: false,
        createdAt: "2026-01-02T03:04:05Z")

    @Test func aTenantIsAnObjectWithNameSchemaStateAndVersion() throws {
        #expect(
            try Renderer.json(Self.acme, indented: false)
                == #"{"createdAt":"2026-01-02T03:04:05Z","engineAccess":false,"engineRole":"acme_engine","id":"0","login":"acme_a","name":"acme","#
                + #""ownerRole":"acme_owner","runtimeRole":"acme_runtime","schema":"acme","state":"active","version":3,"#
                + #""versions":{"app":7}}"#
        )
    }

    @Test func tenantsAreATableOrAnArray() throws {
        let collector = Collector()
        try Renderer(collector.console(terminal: false), .table).show([Self.acme])
        #expect(
            collector.data == """
                name  schema  state   version   login   created
                acme  acme    active  3, app 7  acme_a  2026-01-02T03:04:05Z

                """)
    }

    @Test func plannedStatementsAreAScriptOrAnArray() throws {
        let script = Collector()
        try Renderer(script.console(terminal: false), .table).show(statements: ["BEGIN", "COMMIT;"])
        #expect(script.data == "BEGIN;\nCOMMIT;\n")
        let lines = Collector()
        try Renderer(lines.console(terminal: false), .ndjson).show(statements: ["SELECT 'a/b'", "COMMIT"])
        #expect(lines.data == "\"SELECT 'a/b'\"\n\"COMMIT\"\n")
    }
}
