import CloacinaPostgres
import FoundationEssentials

/// The question whether anything of a tenant is left.
enum ProofQueries {
    /// Counts what every catalog still has of the tenant, by OID and, where something new could stand, by name.
    static func proof(of target: RemovalTarget, serverVersion: Int) -> PostgresStatement {
        let schemaName = target.schemaOID == nil ? nil : target.schema
        let parameters = """
            UNION ALL SELECT 'pg_parameter_acl', (SELECT count(*) FROM pg_parameter_acl c, it
                WHERE EXISTS (SELECT FROM aclexplode(c.paracl) a WHERE a.grantee = ANY (it.roles)))
            """
        return """
            WITH named AS MATERIALIZED (
                SELECT \(target.id) AS id, \(target.schemaOID.postgresValue)::bigint::oid AS schema,
                       \(schemaName.postgresValue)::text AS schema_name, \(target.roleNames)::text[] AS role_names,
                       \(target.roleOIDs)::bigint[]::oid[] AS role_oids, \(target.tenantsRole)::text AS tenants_role
            ), it AS MATERIALIZED (
                SELECT n.id, n.schema_name, n.role_names, n.tenants_role,
                       ARRAY(SELECT n.schema WHERE n.schema IS NOT NULL
                             UNION SELECT c.oid FROM pg_namespace c WHERE c.nspname = n.schema_name) AS schemas,
                       ARRAY(SELECT unnest(n.role_oids)
                             UNION SELECT r.oid FROM pg_roles r WHERE r.rolname = ANY (n.role_names)) AS roles
                FROM named n
            )
            SELECT 'pg_namespace' AS catalog,
                   (SELECT count(*) FROM pg_namespace c, it WHERE c.oid = ANY (it.schemas)) AS remaining
            UNION ALL SELECT 'pg_class', (SELECT count(*) FROM pg_class c, it WHERE c.relnamespace = ANY (it.schemas))
            UNION ALL SELECT 'pg_proc', (SELECT count(*) FROM pg_proc c, it WHERE c.pronamespace = ANY (it.schemas))
            UNION ALL SELECT 'pg_type', (SELECT count(*) FROM pg_type c, it WHERE c.typnamespace = ANY (it.schemas))
            UNION ALL SELECT 'pg_roles', (SELECT count(*) FROM pg_roles c, it WHERE c.oid = ANY (it.roles))
            UNION ALL SELECT 'pg_auth_members', (SELECT count(*) FROM pg_auth_members c, it
                WHERE c.roleid = ANY (it.roles) OR c.member = ANY (it.roles) OR c.grantor = ANY (it.roles))
            UNION ALL SELECT 'pg_largeobject_metadata', (SELECT count(*) FROM pg_largeobject_metadata c, it
                WHERE c.lomowner = ANY (it.roles))
            UNION ALL SELECT 'pg_default_acl', (SELECT count(*) FROM pg_default_acl c, it
                WHERE c.defaclrole = ANY (it.roles) OR c.defaclnamespace = ANY (it.schemas))
            UNION ALL SELECT 'pg_db_role_setting', (SELECT count(*) FROM pg_db_role_setting c, it
                WHERE c.setrole = ANY (it.roles))
            UNION ALL SELECT 'pg_database', (SELECT count(*) FROM pg_database c, it
                WHERE c.datdba = ANY (it.roles)
                   OR EXISTS (SELECT FROM aclexplode(c.datacl) a WHERE a.grantee = ANY (it.roles)))
            UNION ALL SELECT 'pg_shdepend', (SELECT count(*) FROM pg_shdepend c, it
                WHERE c.refclassid = 'pg_authid'::regclass AND c.refobjid = ANY (it.roles))
            UNION ALL SELECT 'pg_shdepend of ' || it.tenants_role, (SELECT count(*) FROM pg_shdepend c, pg_database d
                WHERE c.refclassid = 'pg_authid'::regclass AND c.refobjid = to_regrole(it.tenants_role)
                  AND c.deptype = 'o' AND d.oid = c.dbid AND d.datname = current_database()) FROM it
            UNION ALL SELECT 'pg_prepared_xacts', (SELECT count(*) FROM pg_prepared_xacts c, it
                WHERE c.owner = ANY (it.role_names))
            UNION ALL SELECT 'pg_stat_activity', (SELECT count(*) FROM pg_stat_activity c, it
                WHERE c.usesysid = ANY (it.roles))
            UNION ALL SELECT 'cloacina.tenants', (SELECT count(*) FROM cloacina.tenants c, it WHERE c.id = it.id)
            UNION ALL SELECT 'cloacina.credentials', (SELECT count(*) FROM cloacina.credentials c, it WHERE c.tenant_id = it.id)
            \(unescaped: serverVersion >= 150_000 ? parameters : "")
            """
    }
}
