import CloacinaPostgres
import FoundationEssentials

/// Statements on the control schema.
enum RegistryQueries {
    static let tenantColumns = """
        t.id, t.name, t.schema_name, t.state, t.version, t.owner_role, t.runtime_role, t.engine_role, t.engine_access,
        t.login_a, t.login_b, t.created_at,
        (SELECT c.login FROM cloacina.credentials c WHERE c.tenant_id = t.id AND c.state = 'active') AS login,
        ARRAY(SELECT v.source FROM cloacina.tenant_versions v WHERE v.tenant_id = t.id ORDER BY v.source) AS sources,
        ARRAY(SELECT v.version FROM cloacina.tenant_versions v WHERE v.tenant_id = t.id ORDER BY v.source) AS versions,
        \(LimitQueries.columns)
        """

    static let tenants = PostgresStatement("SELECT \(Self.tenantColumns) FROM cloacina.tenants t ORDER BY t.name", [])

    static func tenant(named name: String) -> PostgresStatement {
        PostgresStatement("SELECT \(Self.tenantColumns) FROM cloacina.tenants t WHERE t.name = $1", [.text(name)])
    }

    /// What stands where a tenant is to be: the installation, the registry's row, and the catalogs.
    static func survey(name: String, schema: String, roles: [String]) -> PostgresStatement {
        """
        SELECT i.service_role, i.tenants_role, t.id, t.state, t.schema_name, t.schema_oid::oid AS schema_oid,
               coalesce(t.role_oids, '{}')::bigint[] AS role_oids,
               t.owner_role, t.runtime_role, t.login_a, t.login_b, t.version,
               to_regnamespace(\(schema))::oid AS found_schema,
               ARRAY(SELECT to_regrole(n)::oid::bigint FROM unnest(\(roles)::text[]) n
                     WHERE to_regrole(n) IS NOT NULL) AS found_roles,
               ARRAY(SELECT n FROM unnest(\(roles)::text[]) n WHERE to_regrole(n) IS NOT NULL) AS found_role_names,
               ARRAY(SELECT DISTINCT n FROM unnest(ARRAY[\(name), \(schema)]) n WHERE to_regrole(n) IS NOT NULL)
                   AS names_of_roles,
               ARRAY(SELECT n FROM unnest(\(roles)::text[]) n WHERE to_regnamespace(n) IS NOT NULL) AS roles_of_schemas,
               EXISTS (SELECT FROM cloacina.tenants o WHERE o.schema_name = \(schema) AND o.name <> \(name)) AS is_taken
        FROM (VALUES (1)) one (one)
        LEFT JOIN cloacina.installation i ON true
        LEFT JOIN cloacina.tenants t ON t.name = \(name)
        """
    }

    /// A condition that a role is one of the tenant `t`'s: by number and by name. By number alone a stranger's would do, in a database
    /// that was restored on another server.
    static func hasRole(_ oid: String, named name: String) -> String {
        """
        (\(oid) = ANY (t.role_oids)
         AND \(name)::text IN (t.owner_role, t.runtime_role, t.engine_role, t.login_a, t.login_b))
        """
    }

    static func reserve(
        id: UUID, name: String, schema: String, roles: TenantRoles
    ) -> PostgresStatement {
        """
        INSERT INTO cloacina.tenants
            (id, name, schema_name, owner_role, runtime_role, engine_role, login_a, login_b, state)
        VALUES (\(id), \(name), \(schema), \(roles.owner), \(roles.runtime), \(roles.engine), \(roles.loginA),
                \(roles.loginB), 'creating')
        """
    }

    /// Takes over a reservation that an interrupted operation left, with nothing behind it.
    static func takeOver(id: UUID, schema: String) -> PostgresStatement {
        "UPDATE cloacina.tenants SET schema_name = \(schema) WHERE id = \(id) AND schema_oid IS NULL"
    }

    /// Gives up a reservation with nothing behind it.
    static func abandon(id: UUID) -> PostgresStatement {
        "DELETE FROM cloacina.tenants WHERE id = \(id) AND state = 'creating' AND schema_oid IS NULL"
    }

    static func register(id: UUID, engineAccess: Bool) -> PostgresStatement {
        """
        UPDATE cloacina.tenants
        SET schema_oid = to_regnamespace(schema_name)::oid, engine_access = \(engineAccess),
            database_oid = \(unescaped: Self.database),
            role_oids = ARRAY[to_regrole(owner_role)::oid, to_regrole(runtime_role)::oid, to_regrole(engine_role)::oid,
                              to_regrole(login_a)::oid, to_regrole(login_b)::oid]
        WHERE id = \(id)
        """
    }

    /// The OID of this database, which a change of its name leaves and a copy doesn't have.
    static let database = "(SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())"

    static func insertCredentials(id: UUID, roles: TenantRoles) -> PostgresStatement {
        """
        INSERT INTO cloacina.credentials (tenant_id, kind, login, state, issued_at, issued_by)
        VALUES (\(id), 'a', \(roles.loginA), 'active', now(), session_user), (\(id), 'b', \(roles.loginB), 'standby', NULL, NULL)
        """
    }

    static func reissue(id: UUID) -> PostgresStatement {
        """
        UPDATE cloacina.credentials SET issued_at = now(), issued_by = session_user
        WHERE tenant_id = \(id) AND state = 'active'
        """
    }

    /// Notes the newest versions in a tenant's schema.
    static func record(id: UUID, _ versions: TenantMigrations.Versions) -> [PostgresStatement] {
        let version = Int32(clamping: versions.own)
        let own: PostgresStatement = "UPDATE cloacina.tenants SET version = \(version) WHERE id = \(id)"
        guard !versions.others.isEmpty else { return [own] }
        let sources = versions.others.map(\.source)
        let numbers = versions.others.map { Int32(clamping: $0.version) }
        return [
            own,
            """
            INSERT INTO cloacina.tenant_versions (tenant_id, source, version)
            SELECT \(id), v.source, v.version FROM unnest(\(sources)::text[], \(numbers)::int[]) v (source, version)
            ON CONFLICT (tenant_id, source) DO UPDATE SET version = excluded.version
            """,
        ]
    }

    /// A tenant's row for as long as the transaction lasts, and whether its roles are those that were registered.
    static func lockTenant(named name: String) -> PostgresStatement {
        """
        SELECT t.id, t.state, t.engine_role, t.login_a, t.login_b, t.engine_access,
               (SELECT bool_and(coalesce(to_regrole(quote_ident(r))::oid = ANY (t.role_oids), false))
                FROM unnest(ARRAY[t.engine_role, t.login_a, t.login_b]) r) AS has_roles
        FROM cloacina.tenants t WHERE t.name = \(name) FOR UPDATE
        """
    }

    static func setEngineAccess(id: UUID, _ isAllowed: Bool) -> PostgresStatement {
        "UPDATE cloacina.tenants SET engine_access = \(isAllowed) WHERE id = \(id)"
    }

    static func setState(id: UUID, _ state: Tenant.State) -> PostgresStatement {
        "UPDATE cloacina.tenants SET state = \(state.rawValue) WHERE id = \(id)"
    }

    static func forget(id: UUID) -> PostgresStatement {
        "DELETE FROM cloacina.tenants WHERE id = \(id)"
    }

    /// A commit that need not wait for the disk: what it says is found out again if a crash of the server loses it.
    static let commitWithoutWaiting = PostgresStatement("SELECT set_config('synchronous_commit', 'off', true)")
}

extension Tenant {
    /// Reads a row of ``RegistryQueries/tenantColumns``.
    init(_ row: PostgresRow) throws {
        let loginA: String = try row.value("login_a")
        let limits = try StoredLimits(row)
        let found: Int32? = try row.value("found_connection_limit")
        let settings: [String]? = try row.value("found_settings")
        self.init(
            id: try row.value("id"), name: try row.value("name"), schema: try row.value("schema_name"),
            state: try State(registry: row.value("state")),
            version: try row.value("version"),
            versions: Dictionary(
                zip(try row.value("sources", as: [String].self), try row.value("versions", as: [Int].self)),
                uniquingKeysWith: max), ownerRole: try row.value("owner_role"),
            runtimeRole: try row.value("runtime_role"), engineRole: try row.value("engine_role"),
            engineAccess: try row.value("engine_access"),
            login: try row.value("login", as: String?.self) ?? loginA, createdAt: try row.value("created_at"),
            limits: limits.limits,
            limitsNotInForce: found.map { limits.differing(fromConnections: $0, settings: settings ?? []) } ?? [])
    }
}
