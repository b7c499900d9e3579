import CloacinaPostgres
import FoundationEssentials

/// Statements that take over what goes by a tenant's names.
enum AdoptionQueries {
    /// Who owns the schema, and which of the roles are not shaped as a tenant's are.
    static func shape(schema: String, roles: [String], serviceRole: String) -> PostgresStatement {
        """
        SELECT (SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = \(schema)) AS schema_owner,
               ARRAY(SELECT rolname::text FROM pg_roles
                     WHERE rolname::text = ANY (\(roles)::text[])
                       AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)
                     ORDER BY 1) AS privileged,
               to_regrole(\(serviceRole)) IS NOT NULL AS has_service_role
        """
    }

    /// Registers what the names stand for now; what is gone keeps the OID that it had, or loses its place.
    static func register(id: UUID, roles: [String]) -> PostgresStatement {
        """
        UPDATE cloacina.tenants
        SET database_oid = \(unescaped: RegistryQueries.database),
            schema_oid = coalesce(to_regnamespace(schema_name)::oid, schema_oid),
            role_oids = ARRAY(SELECT to_regrole(r.name)::oid FROM unnest(\(roles)::text[]) WITH ORDINALITY r (name, place)
                              WHERE to_regrole(r.name) IS NOT NULL ORDER BY r.place)
        WHERE id = \(id)
        """
    }
}
