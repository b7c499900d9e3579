import CloacinaPostgres
import CloacinaSchema
import CloacinaTenancy
import Testing

extension ServerTests {
    /// C03, C04, C09: a new tenant and old ones end alike, whatever the files do at their ends.
    @Suite(.timeLimit(.minutes(40))) struct BothWaysTests {
        @Test("C03 C04 C09: both ways end alike", arguments: MigrationSample.all)
        func aNewTenantAndOldOnesEndAlike(_ sample: MigrationSample) async throws {
            let set = try MigrationFixture.set(sample.files)
            let (old, stepwise, new) = (TenantFixture.name(), TenantFixture.name(), TenantFixture.name())
            try await TenantFixture.withAdmin { admin in
                for name in [old, stepwise] { _ = try await admin.createTenant(TenantConfig(name: name)) }
                // One gets its files one deployment after the other.
                for version in sample.files.keys.sorted() {
                    let part = try MigrationFixture.set(sample.files.filter { $0.key <= version })
                    let report = try await admin.migrate(tenant: stepwise, sets: [part])
                    #expect(report.failures.compactMap(\.error).isEmpty)
                }
                let report = try await admin.migrate(sets: [set])
                #expect(report.failures.compactMap(\.error).isEmpty)
                _ = try await admin.createTenant(TenantFixture.config(new, sets: [set]))

                let fingerprint = try await MigrationFixture.fingerprint(of: new)
                #expect(fingerprint.count > set.migrations.count)
                #expect(try await MigrationFixture.fingerprint(of: old) == fingerprint)
                #expect(try await MigrationFixture.fingerprint(of: stepwise) == fingerprint)
                #expect(try await admin.migrationStatus(sets: [set]).isCurrent)
                for name in [old, stepwise, new] { try await admin.removeTenant(named: name) }
            }
        }

        /// C05: many tables in several files fit a small lock table, because each file gives its locks back.
        @Test func aNewTenantsFilesHoldTheirLocksOneAfterTheOther() async throws {
            let texts = Dictionary(
                uniqueKeysWithValues: (1...3).map { part in
                    (
                        part,
                        "DO $$ BEGIN FOR n IN 1..20 LOOP EXECUTE format('CREATE TABLE p\(part)_%s (id int)', n); END LOOP; END $$;\n"
                            + "-- migrate:verify\nSELECT count(DISTINCT relation) < 60 FROM pg_locks "
                            + "WHERE pid = pg_backend_pid() AND mode = 'AccessExclusiveLock';"
                    )
                })
            let set = try MigrationFixture.set(texts.mapValues { "-- migrate:up\n" + $0 })
            try await TenantFixture.withAdmin { admin in
                let name = TenantFixture.name()
                _ = try await admin.createTenant(TenantFixture.config(name, sets: [set]))
                try await admin.removeTenant(named: name)
            }
        }

        /// Names that live as long as the session are free again for the next tenant, even after a file that failed.
        @Test func aFileMayTakeTheSameNamesForEachTenant() async throws {
            let names = (0..<3).map { _ in TenantFixture.name() }.sorted()
            let set = try MigrationFixture.set([
                1: """
                DO $$ BEGIN
                    EXECUTE 'PREPARE once AS SELECT 1'; EXECUTE 'DECLARE all_rows CURSOR WITH HOLD FOR SELECT 1';
                    IF current_schema() = '\(names[0])' THEN RAISE EXCEPTION 'not here'; END IF;
                END $$;
                """
            ])
            try await TenantFixture.withAdmin { admin in
                for name in names { _ = try await admin.createTenant(TenantConfig(name: name)) }
                let report = try await admin.migrate(sets: [set])
                #expect(report.results.map(\.outcome) == [.failed, .migrated, .migrated])
                for name in names { try await admin.removeTenant(named: name) }
            }
        }

        /// Nothing that a file leaves on the session is there for the next tenant or for the administrator.
        @Test func aSessionIsCleanAfterEachTenant() async throws {
            let set = try MigrationFixture.set([
                1: "DO $$ BEGIN PERFORM set_config('statement_timeout', '123ms', false); END $$;\n"
                    + "CREATE TEMP TABLE left_over (id int); CREATE SEQUENCE s; SELECT nextval('s');"
            ])
            try await TenantFixture.withAdmin { admin in
                let name = TenantFixture.name()
                _ = try await admin.createTenant(TenantFixture.config(name, sets: [set]))
                let row = try await admin.withBackend { connection in
                    try await connection.query(
                        """
                        SELECT current_setting('statement_timeout') AS timeout, current_setting('search_path') AS path,
                               current_user = session_user AS is_self, to_regclass('pg_temp.left_over') IS NULL AS is_clean
                        """)[0]
                }
                #expect(try row.value("timeout") == "0")
                #expect(try row.value("path") == "pg_catalog, pg_temp")
                #expect(try row.value("is_self") == true)
                #expect(try row.value("is_clean") == true)
                try await admin.removeTenant(named: name)
            }
        }
    }
}
