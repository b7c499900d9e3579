import CloacinaPostgres
import CloacinaTenancy
import FoundationEssentials
import Testing

extension ServerTests {
    /// What one tenant can do to another, tried: nothing.
    @Suite struct TenantIsolationTests {
        private struct Attack {
            let what: String
            let sql: [String]
            /// What the server answers with; insufficient privilege unless said otherwise.
            var states: Set<String> = ["42501"]
        }

        private func attacks(me: String, victim: String, victimPID: Int32, database: String) -> [Attack] {
            [
                Attack(what: "read", sql: ["SELECT * FROM \(victim).items"]),
                Attack(
                    what: "read through the path", sql: ["SET search_path TO \(victim)", "SELECT * FROM items"],
                    states: ["42P01"]),
                Attack(what: "write", sql: ["INSERT INTO \(victim).items (name) VALUES ('x')"]),
                Attack(what: "update", sql: ["UPDATE \(victim).items SET name = 'x'"]),
                Attack(what: "delete", sql: ["DELETE FROM \(victim).items"]),
                Attack(what: "truncate", sql: ["TRUNCATE \(victim).items"]),
                Attack(what: "lock", sql: ["BEGIN", "LOCK TABLE \(victim).items IN ACCESS SHARE MODE"]),
                Attack(what: "copy", sql: ["COPY \(victim).items TO STDOUT"], states: ["42501"]),
                Attack(what: "call", sql: ["SELECT \(victim).answer()"]),
                Attack(what: "sequence", sql: ["SELECT nextval('\(victim).tickets')"]),
                Attack(
                    what: "sequence by OID",
                    sql: [
                        "SELECT nextval((SELECT oid FROM pg_class WHERE relname = 'tickets' AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = '\(victim)'))::regclass)"
                    ]),
                Attack(what: "drop", sql: ["DROP TABLE \(victim).items"]),
                Attack(what: "drop schema", sql: ["DROP SCHEMA \(victim) CASCADE"]),
                Attack(what: "create in it", sql: ["CREATE TABLE \(victim).mine ()"]),
                Attack(what: "statistics in it", sql: ["CREATE STATISTICS \(victim).s ON name, id FROM \(me).items"]),
                Attack(what: "create in public", sql: ["CREATE TABLE public.mine ()"]),
                Attack(what: "create in mine", sql: ["CREATE TABLE \(me).mine ()"]),
                Attack(what: "create a schema", sql: ["CREATE SCHEMA mine"]),
                Attack(what: "temporary table", sql: ["CREATE TEMPORARY TABLE x ()"]),
                Attack(what: "become its login", sql: ["SET ROLE \(victim)_a"]),
                Attack(what: "become its runtime", sql: ["SET ROLE \(victim)_runtime"]),
                Attack(what: "become its owner", sql: ["SET ROLE \(victim)_owner"]),
                Attack(what: "become my owner", sql: ["SET ROLE \(me)_owner"]),
                Attack(what: "become the service", sql: ["SET ROLE cloacina_service"]),
                Attack(what: "session authorization", sql: ["SET SESSION AUTHORIZATION \(victim)_a"]),
                Attack(what: "grant myself", sql: ["GRANT \(victim)_runtime TO \(me)_a"]),
                Attack(what: "alter its password", sql: ["ALTER ROLE \(victim)_a PASSWORD 'x'"]),
                Attack(what: "alter its path", sql: ["ALTER ROLE \(victim)_a SET search_path TO \(me)"]),
                Attack(what: "create a role", sql: ["CREATE ROLE x"]),
                Attack(what: "end its sessions", sql: ["SELECT pg_terminate_backend(\(victimPID))"]),
                Attack(what: "cancel its statements", sql: ["SELECT pg_cancel_backend(\(victimPID))"]),
                Attack(what: "registry", sql: ["SELECT * FROM cloacina.tenants"]),
                Attack(what: "ledger", sql: ["SELECT * FROM cloacina.operations"]),
                Attack(what: "verifiers", sql: ["SELECT * FROM pg_authid"]),
                Attack(what: "comment", sql: ["COMMENT ON TABLE \(victim).items IS 'x'"]),
                Attack(
                    what: "trigger", sql: ["CREATE TRIGGER t BEFORE INSERT ON \(victim).items EXECUTE FUNCTION x()"]),
                Attack(what: "foreign key", sql: ["CREATE TABLE \(me).f (i bigint REFERENCES \(victim).items)"]),
                Attack(what: "database settings", sql: ["ALTER DATABASE \(database) SET search_path TO \(me)"]),
                Attack(what: "server files", sql: ["SELECT pg_read_file('PG_VERSION')"]),
                Attack(what: "server programs", sql: ["COPY (SELECT 1) TO PROGRAM 'true'"]),
                Attack(what: "extension", sql: ["CREATE EXTENSION dblink"], states: ["42501", "0A000", "58P01"]),
                Attack(what: "become my engine", sql: ["SET ROLE \(me)_engine"]),
                Attack(what: "become its engine", sql: ["SET ROLE \(victim)_engine"]),
                Attack(what: "read its pipelines", sql: ["SELECT * FROM \(victim).cloacina_pipeline_list"]),
                Attack(what: "enqueue at its", sql: ["SELECT \(victim).cloacina_enqueue('w')"]),
                Attack(
                    what: "signal at its", sql: ["SELECT \(victim).cloacina_signal(gen_random_uuid(), 'cancel')"]),
                Attack(what: "tamper with my history", sql: ["DELETE FROM \(me).cloacina_migrations"]),
            ]
        }

        @Test(arguments: ["a", "role"])
        func everyListedAttackIsRefusedByTheServer(as isolation: String) async throws {
            let (me, victim) = (TenantFixture.name(), TenantFixture.name())
            let database = try #require(TestDatabase.current)
            try await TenantFixture.withAdmin { admin in
                let sets = try TenantFixture.sets()
                let mine = try await admin.createTenant(TenantFixture.config(me, sets: sets))
                let theirs = try await admin.createTenant(TenantFixture.config(victim, sets: sets))
                try await TenantFixture.withTenant(theirs) { victimSession in
                    try await victimSession.query("INSERT INTO items (name) VALUES ('secret of \(unescaped: victim)')")
                    let attacks = self.attacks(
                        me: me, victim: victim, victimPID: victimSession.backendPID, database: database.name)
                    for attack in attacks {
                        try await self.expectRefused(attack, mine, asRuntime: isolation == "role", me)
                    }
                    // The victim is as it was.
                    #expect(try await victimSession.query("SELECT count(*) FROM items").single() == 1)
                    // What another does is not shown, only that it is there.
                    try await TenantFixture.withTenant(mine) { session in
                        let query = try await session.query(
                            "SELECT query FROM pg_stat_activity WHERE pid = \(victimSession.backendPID)")
                        #expect(try query.single() == "<insufficient privilege>")
                    }
                }
                try await admin.removeTenant(named: me)
                try await admin.removeTenant(named: victim)
            }
        }

        private func expectRefused(
            _ attack: Attack, _ mine: TenantCredentials, asRuntime: Bool, _ me: String
        ) async throws {
            try await TenantFixture.withTenant(mine) { session in
                if asRuntime { try await session.query("SET ROLE \(unescaped: me)_runtime") }
                var refusal: PostgresError?
                for sql in attack.sql where refusal == nil {
                    do {
                        try await session.script(sql)
                    } catch let error as PostgresError {
                        refusal = error
                    }
                }
                let state = try #require(refusal?.sqlState, "\(attack.what) was allowed")
                #expect(attack.states.contains(state), "\(attack.what): \(refusal?.debugDescription ?? "")")
            }
        }

        @Test func theStandbyLoginCannotLogIn() async throws {
            let name = TenantFixture.name()
            try await TenantFixture.withAdmin { admin in
                let credentials = try await admin.createTenant(TenantConfig(name: name))
                var standby = PostgresConfiguration(credentials.connectionString)
                standby.user = name + "_b"
                await #expect(throws: PostgresError.self) { _ = try await PostgresConnection.connect(standby) }
                try await admin.removeTenant(named: name)
            }
        }

        @Test func aLoginReachesNoOtherDatabaseThatWasPrepared() async throws {
            let server = try #require(TestDatabase.current).server
            let name = TenantFixture.name()
            let other = try await TestDatabase.create(on: server)
            try await TenantFixture.withAdmin { admin in
                var options = BootstrapOptions()
                options.tenantsRole = name + "_group"
                try await DatabaseAdmin(other.administrator).bootstrap(options)
                let credentials = try await admin.createTenant(TenantConfig(name: name))
                var elsewhere = PostgresConfiguration(credentials.connectionString)
                elsewhere.database = other.name
                let error = await #expect(throws: PostgresError.self) {
                    _ = try await PostgresConnection.connect(elsewhere)
                }
                #expect(error?.code == .connectionFailed)
                try await admin.removeTenant(named: name)
            }
            try await other.drop()
        }
    }
}
