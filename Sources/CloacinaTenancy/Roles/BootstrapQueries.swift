import CloacinaPostgres

/// Statements that prepare a database.
enum BootstrapQueries {
    static let controlSchema = "cloacina"

    /// What the administrator may do here, and what is here already.
    static let survey: PostgresStatement = """
        SELECT r.rolname::text AS administrator, r.rolcreaterole OR r.rolsuper AS may_create_roles,
               has_database_privilege(current_database(), 'CREATE') AS may_create_schemas,
               pg_is_in_recovery() AS is_standby, current_setting('server_encoding') AS encoding,
               (SELECT datctype::text FROM pg_database WHERE datname = 'template0') AS template_locale,
               to_regclass('cloacina.installation') IS NOT NULL AS is_installed,
               n.oid IS NOT NULL AS has_schema, coalesce(pg_has_role(n.nspowner, 'USAGE'), false) AS owns_schema,
               coalesce(pg_get_userbyid(n.nspowner)::text, '') AS schema_owner
        FROM pg_roles r LEFT JOIN pg_namespace n ON n.nspname = 'cloacina'
        WHERE r.rolname = current_user
        """

    static let installation: PostgresStatement = """
        SELECT service_role, tenants_role,
               coalesce(service_role_oid = to_regrole(quote_ident(service_role))::oid, false) AS is_service_role
        FROM cloacina.installation
        """

    static func role(_ name: String) -> PostgresStatement {
        """
        SELECT rolcanlogin, rolinherit,
               rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS is_privileged,
               pg_has_role(oid, 'MEMBER WITH ADMIN OPTION') AS may_grant,
               coalesce(shobj_description(oid, 'pg_authid') = \(ServiceRole.mark), false) AS is_marked,
               ARRAY(SELECT DISTINCT pg_get_userbyid(m.member)::text FROM pg_auth_members m
                     WHERE m.roleid = r.oid AND pg_get_userbyid(m.member) NOT IN (current_user, session_user)
                     ORDER BY 1 LIMIT 20) AS members
        FROM pg_roles r WHERE rolname = \(name)
        """
    }

    /// Which other databases of the server the two roles were let into, or own or were granted something in.
    static func elsewhere(serviceRole: String, tenantsRole: String) -> PostgresStatement {
        """
        SELECT r.rolname::text AS role, r.rolcanlogin AS is_login, count(*) AS number,
               (array_agg(d.datname::text ORDER BY d.datname))[1:3] AS databases
        FROM pg_roles r JOIN pg_database d ON EXISTS (
            SELECT FROM pg_shdepend s WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
              AND (s.dbid = d.oid OR s.classid = 'pg_database'::regclass AND s.objid = d.oid))
        WHERE r.rolname IN (\(serviceRole), \(tenantsRole)) AND d.datname <> current_database()
        GROUP BY r.rolname, r.rolcanlogin ORDER BY r.rolname
        """
    }

    /// The service login that this database was prepared with.
    static let serviceRole: PostgresStatement = "SELECT service_role FROM cloacina.installation"

    static func record(serviceRole: String, tenantsRole: String) -> PostgresStatement {
        """
        INSERT INTO cloacina.installation AS i (service_role, tenants_role, service_role_oid)
        VALUES (\(serviceRole), \(tenantsRole), to_regrole(quote_ident(\(serviceRole)))::oid)
        ON CONFLICT (singleton) DO UPDATE SET service_role_oid = excluded.service_role_oid
        WHERE i.service_role_oid <> excluded.service_role_oid
        """
    }

    /// Keeps the control schema to its owner.
    static let privacy = [
        "REVOKE ALL ON SCHEMA cloacina FROM PUBLIC", "REVOKE ALL ON ALL TABLES IN SCHEMA cloacina FROM PUBLIC",
    ]

    /// Who may do what, and whether the administrator could change it: PostgreSQL only warns when a GRANT or REVOKE has no
    /// effect, or fails when the grantor has no privilege at all.
    ///
    /// The administrator must be able to pass CONNECT and TEMPORARY on to each tenant; see ``ConnectSQL``.
    static func access(serviceRole: String) -> PostgresStatement {
        """
        SELECT EXISTS (
                   SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee = 0
               ) AS public_on_database,
               pg_has_role(d.datdba, 'USAGE') AS owns_database,
               EXISTS (
                   SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a WHERE a.grantee = 0
               ) AND n.oid IS NOT NULL AS public_on_schema,
               coalesce(pg_has_role(n.nspowner, 'USAGE'), false) AS owns_public,
               EXISTS (
                   SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                   WHERE a.privilege_type = 'CONNECT' AND a.grantee = to_regrole(quote_ident(\(serviceRole)))::oid
               ) AS may_connect,
               has_database_privilege(d.oid, 'CONNECT WITH GRANT OPTION')
                   AND has_database_privilege(d.oid, 'TEMPORARY WITH GRANT OPTION') AS may_let_connect,
               ARRAY(SELECT e.extname::text FROM pg_extension e WHERE e.extnamespace = n.oid ORDER BY 1) AS public_extensions,
               current_setting('synchronous_commit') = 'off' OR EXISTS (
                   SELECT FROM pg_db_role_setting s, unnest(s.setconfig) c
                   WHERE s.setdatabase IN (0, d.oid) AND c ~* '^synchronous_commit=(off|false|no|0)$'
                     AND (s.setrole IN (0, to_regrole(quote_ident(\(serviceRole)))::oid) OR s.setrole IN (
                         SELECT to_regrole(quote_ident(login))::oid FROM cloacina.tenants t,
                             unnest(ARRAY[t.login_a, t.login_b]) AS login))
               ) AS loses_commits
        FROM pg_database d LEFT JOIN pg_namespace n ON n.nspname = 'public'
        WHERE d.datname = current_database()
        """
    }
}

/// Who may reach the database, as found.
struct DatabaseAccess: Sendable {
    let publicOnDatabase: Bool
    let ownsDatabase: Bool
    let publicOnSchema: Bool
    let ownsPublic: Bool
    let mayConnect: Bool
    /// True when the administrator can let new tenants' logins in, and their owners make temporary tables.
    let mayLetConnect: Bool
    /// The extensions that lie in the schema `public`.
    let publicExtensions: [String]
    /// Whether a login's or everybody's `synchronous_commit` is off.
    let losesCommits: Bool

    init(_ row: PostgresRow) throws {
        self.publicOnDatabase = try row.value("public_on_database")
        self.ownsDatabase = try row.value("owns_database")
        self.publicOnSchema = try row.value("public_on_schema")
        self.ownsPublic = try row.value("owns_public")
        self.mayConnect = try row.value("may_connect")
        self.mayLetConnect = try row.value("may_let_connect")
        self.publicExtensions = try row.value("public_extensions")
        self.losesCommits = try row.value("loses_commits")
    }

    /// What is still to be granted and revoked, each with whether the administrator can.
    func changes(
        database: String, administrator: String, serviceRole: String, restrictsPublic: Bool
    ) -> [(sql: String, isAllowed: Bool)] {
        let database = PostgresIdentifier.quote(database)
        var changes: [(sql: String, isAllowed: Bool)] = []
        if !self.mayConnect {
            let role = PostgresIdentifier.quote(serviceRole)
            changes.append(("GRANT CONNECT ON DATABASE \(database) TO \(role)", self.ownsDatabase))
        }
        if !self.mayLetConnect {
            let role = PostgresIdentifier.quote(administrator)
            changes.append(("GRANT CONNECT, TEMPORARY ON DATABASE \(database) TO \(role) WITH GRANT OPTION", false))
        }
        guard restrictsPublic else { return changes }
        if self.publicOnDatabase {
            changes.append(("REVOKE CONNECT, TEMPORARY ON DATABASE \(database) FROM PUBLIC", self.ownsDatabase))
        }
        if self.publicOnSchema { changes.append(("REVOKE ALL ON SCHEMA public FROM PUBLIC", self.ownsPublic)) }
        return changes
    }

    /// Extensions that nobody reaches any more, with the way back for all who need them.
    private var lostExtensions: [String] {
        guard !self.publicOnSchema, !self.publicExtensions.isEmpty else { return [] }
        let moves = self.publicExtensions.map {
            "ALTER EXTENSION \(PostgresIdentifier.quote($0)) SET SCHEMA extensions"
        }
        return [
            "nobody but its owner reaches the schema public any more, nor the extensions in it "
                + "(\(self.publicExtensions.joined(separator: ", "))): to share them, as their owner, CREATE SCHEMA extensions; "
                + moves.joined(separator: "; ") + "; GRANT USAGE ON SCHEMA extensions TO PUBLIC"
        ]
    }

    var warnings: [String] {
        (self.publicOnDatabase ? ["PUBLIC may connect to the database or make temporary tables"] : [])
            + (self.publicOnSchema ? ["PUBLIC has privileges on the schema public"] : [])
            + self.lostExtensions
            + (self.losesCommits ? ["synchronous_commit is off: a crash of the server loses the newest steps"] : [])
    }
}
