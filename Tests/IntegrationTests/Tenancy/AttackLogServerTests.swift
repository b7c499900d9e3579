import CloacinaPostgres
import CloacinaTenancy
import Testing

extension ServerTests {
    /// The attack log: roles, grants, the server's own objects, its files and its secrets.
    @Suite(.serialized, .attackedTenants, .timeLimit(.minutes(40))) struct AttackLogServerTests {
        @Test(
            arguments: [
                Attempt("CREATE EXTENSION pgcrypto", "42501", "0A000"), "CREATE FOREIGN DATA WRAPPER x",
                Attempt("CREATE SERVER x FOREIGN DATA WRAPPER x", "42501", "42704"),
                "CREATE FOREIGN TABLE {me}.x (i int) SERVER x", "CREATE PUBLICATION x",
                "CREATE PUBLICATION x FOR ALL TABLES",
                "CREATE SUBSCRIPTION x CONNECTION 'dbname=x' PUBLICATION x WITH (connect = false)",
                "CREATE EVENT TRIGGER x ON ddl_command_start EXECUTE FUNCTION answer()",
                "CREATE LANGUAGE x HANDLER plpgsql_call_handler",
                Attempt("CREATE LANGUAGE plpython3u", "42501", "0A000"),
                "CREATE TRANSFORM FOR int LANGUAGE plpgsql (FROM SQL WITH FUNCTION int4in(internal))",
                "CREATE ACCESS METHOD x TYPE INDEX HANDLER bthandler", "CREATE TABLESPACE x LOCATION '/tmp'",
                "CREATE DATABASE x", "DROP DATABASE {database}", "ALTER EXTENSION plpgsql SET SCHEMA {me}",
                "COMMENT ON EXTENSION plpgsql IS 'x'", "SELECT pg_create_physical_replication_slot('x')",
                "SELECT pg_create_logical_replication_slot('x', 'pgoutput')",
                "SELECT pg_replication_origin_create('x')",
            ] as [Attempt])
        func nothingOfTheServersCanBeMade(attempt: Attempt) async throws {
            try await AttackedTenants.shared().expectRefused(attempt)
        }

        @Test(
            arguments: [
                "COPY (SELECT 1) TO PROGRAM 'true'", "COPY items (name) FROM PROGRAM 'true'",
                "COPY (SELECT 1) TO '/tmp/never'", "COPY items (name) FROM '/etc/passwd'",
                "SELECT pg_read_file('PG_VERSION')", "SELECT pg_read_binary_file('PG_VERSION')",
                "SELECT pg_stat_file('PG_VERSION')", "SELECT pg_ls_dir('.')", "SELECT pg_ls_logdir()",
                "SELECT pg_ls_waldir()", "SELECT * FROM pg_ls_tmpdir()", "SELECT lo_import('/etc/passwd')",
                "SELECT lo_export(lo_create(0), '/tmp/never')", "SELECT pg_current_logfile()",
                "SELECT current_setting('data_directory')", "SHOW hba_file", "SELECT * FROM pg_hba_file_rules",
                "SELECT * FROM pg_file_settings", "SELECT rolpassword FROM pg_authid", "SELECT passwd FROM pg_shadow",
                "SELECT umoptions FROM pg_user_mapping", "SELECT subconninfo FROM pg_subscription",
                "LOAD 'auto_explain'",
            ] as [Attempt])
        func theServersFilesProgramsAndVerifiersAreClosed(attempt: Attempt) async throws {
            try await AttackedTenants.shared().expectRefused(attempt)
        }

        @Test(
            arguments: [
                "ALTER SYSTEM SET work_mem = '1GB'", "SELECT pg_reload_conf()", "SELECT pg_rotate_logfile()",
                "SELECT pg_switch_wal()", "SELECT pg_create_restore_point('x')", "SELECT pg_promote()", "CHECKPOINT",
                "SELECT pg_stat_reset()", "SELECT pg_log_backend_memory_contexts(pg_backend_pid())",
                "SET session_replication_role = replica", "SET log_statement = 'none'", "SET zero_damaged_pages = on",
                "GRANT SET ON PARAMETER temp_file_limit TO {me}_a", "ALTER DATABASE {database} SET search_path = {me}",
                "ALTER ROLE ALL SET search_path = {me}",
            ] as [Attempt])
        func theServersSettingsAreClosed(attempt: Attempt) async throws {
            try await AttackedTenants.shared().expectRefused(attempt)
        }

        /// A login may set its path, role and timeouts, and its password; see `AttackLogSessionTests`.
        @Test(
            arguments: [
                "ALTER ROLE {me}_a CONNECTION LIMIT -1", "ALTER ROLE {me}_a VALID UNTIL 'infinity'",
                "ALTER ROLE {me}_a SET session_preload_libraries = 'x'", "ALTER ROLE {me}_a SET log_statement = 'none'",
                "ALTER ROLE {me}_a SET session_replication_role = 'replica'", "ALTER ROLE {me}_a CREATEDB",
                "ALTER ROLE {me}_a CREATEROLE", "ALTER ROLE {me}_a SUPERUSER", "ALTER ROLE {me}_a BYPASSRLS",
                "ALTER ROLE {me}_a REPLICATION", "ALTER ROLE {me}_a NOINHERIT", "ALTER ROLE {me}_a NOLOGIN",
                Attempt("ALTER ROLE {me}_a RENAME TO x", "42501", "0A000"), "DROP ROLE {me}_runtime",
                "ALTER ROLE {me}_b LOGIN PASSWORD 'x'", "ALTER ROLE {me}_runtime LOGIN",
                "ALTER ROLE {me}_owner LOGIN PASSWORD 'x'",
                "ALTER ROLE {me}_engine SET search_path = {them}", "DROP ROLE {them}_a",
            ] as [Attempt])
        func rolesStayAsTheyWereMade(attempt: Attempt) async throws {
            try await AttackedTenants.shared().expectRefused(attempt)
        }

        @Test(
            arguments: [
                "GRANT {me}_runtime TO {them}_a", "GRANT {me}_a TO {them}_a", "GRANT {me}_a TO {me}_runtime",
                "GRANT {me}_owner TO {me}_a", "GRANT {me}_engine TO {me}_a", "GRANT {them}_runtime TO {me}_a",
                "GRANT \"{administrator}\" TO {me}_a", "GRANT pg_read_all_data TO {me}_a",
                "GRANT pg_signal_backend TO {me}_a", "REVOKE {me}_runtime FROM {me}_a",
                "REVOKE {me}_runtime FROM cloacina_service", "REVOKE {me}_owner FROM \"{administrator}\"",
                "SET ROLE \"{administrator}\"", "SET SESSION AUTHORIZATION {me}_b",
                "SELECT set_config('session_authorization', '{them}_a', false)",
                "ALTER DEFAULT PRIVILEGES FOR ROLE {me}_owner GRANT ALL ON TABLES TO PUBLIC",
                "REASSIGN OWNED BY {me}_owner TO {me}_a", "REASSIGN OWNED BY {me}_a TO {them}_a",
                "REASSIGN OWNED BY {them}_runtime TO {me}_a",
            ] as [Attempt])
        func nobodyPassesRolesOrOwnershipOn(attempt: Attempt) async throws {
            try await AttackedTenants.shared().expectRefused(attempt)
        }

        /// Of what a grantor holds without the right to pass it on, PostgreSQL only warns.
        @Test(arguments: [
            "GRANT SELECT ON {me}.items TO {them}_a", "GRANT ALL ON {me}.items TO PUBLIC",
            "GRANT ALL ON SCHEMA {me} TO {them}_a", "GRANT EXECUTE ON FUNCTION {me}.answer() TO PUBLIC",
            "GRANT USAGE ON SEQUENCE {me}.tickets TO PUBLIC", "GRANT ALL ON DATABASE {database} TO PUBLIC",
            "GRANT CREATE ON DATABASE {database} TO {me}_a", "REVOKE ALL ON {me}.items FROM {me}_runtime",
            "REVOKE ALL ON SCHEMA {me} FROM {me}_runtime",
            "REVOKE CONNECT ON DATABASE {database} FROM cloacina_service",
            "REASSIGN OWNED BY {me}_a TO {me}_runtime", "DROP OWNED BY {me}_a", "VACUUM {me}.items",
        ])
        func whatIsOnlyWarnedOfChangesNothing(sql: String) async throws {
            let tenants = try AttackedTenants.shared()
            let before = try await AttackedTenants.grants()
            #expect(before.contains { $0.contains("\(tenants.me).items") })
            let filled = try tenants.fill(sql)
            try await TenantFixture.withTenant(tenants.attacker) { try await $0.script(filled) }
            #expect(try await AttackedTenants.grants() == before)
        }

        /// Nobody else may pass a membership on; the service login takes its roles on by request only.
        @Test func onlyTheAdministratorHasTheAdminOption() async throws {
            let tenants = try AttackedTenants.shared()
            let roles = TenantFixture.roles(tenants.me)
            try await TenantFixture.withSuperuser { connection in
                let administrator = try tenants.fill("{administrator}")
                let admins: [String] = try await connection.query(
                    """
                    SELECT DISTINCT member::regrole::text AS name FROM pg_auth_members
                    WHERE admin_option AND pg_get_userbyid(roleid)::text = ANY (\(roles)::text[])
                    """
                ).column("name")
                #expect(admins == (connection.serverVersion >= 160_000 ? [administrator] : []))
                let service: [String] = try await connection.query(
                    """
                    SELECT concat_ws(' ', roleid::regrole, j ->> 'inherit_option', j ->> 'set_option') AS line
                    FROM pg_auth_members m, to_jsonb(m) AS j
                    WHERE member = 'cloacina_service'::regrole
                      AND pg_get_userbyid(roleid)::text = ANY (\(roles)::text[]) ORDER BY 1
                    """
                ).column("line")
                let options = connection.serverVersion >= 160_000 ? " false true" : ""
                #expect(service == ["\(tenants.me)_engine\(options)", "\(tenants.me)_runtime\(options)"])
                let inherits: Bool = try await connection.query(
                    "SELECT rolinherit FROM pg_roles WHERE rolname = 'cloacina_service'"
                ).single()
                #expect(!inherits)
            }
        }
    }
}
