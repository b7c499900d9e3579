import CloacinaPostgres
import CloacinaSchema
import FoundationEssentials

/// What the registry knows of the tenants' versions.
enum FleetQueries {
    /// One row per tenant, with its versions of further sources.
    static func versions(tenant: String?) -> PostgresStatement {
        """
        SELECT t.id, t.name, t.schema_name, t.state, t.owner_role, t.runtime_role, t.engine_role, t.version,
               coalesce(v.sources, '{}') AS sources, coalesce(v.versions, '{}') AS versions
        FROM cloacina.tenants t
        LEFT JOIN (SELECT tenant_id, array_agg(source) AS sources, array_agg(version) AS versions
                   FROM cloacina.tenant_versions GROUP BY tenant_id) v ON v.tenant_id = t.id
        WHERE \(tenant.postgresValue)::text IS NULL OR t.name = \(tenant.postgresValue)
        ORDER BY t.name
        """
    }
}

/// A tenant's versions by the registry.
struct RegisteredVersions: Sendable {
    let id: UUID
    let name: String
    let state: Tenant.State
    let target: MigrationTarget
    /// The rights of its roles in its schema.
    let privileges: PrivilegeSQL
    let versions: [String: Int]

    init(_ row: PostgresRow) throws {
        self.id = try row.value("id")
        self.name = try row.value("name")
        self.state = try Tenant.State(registry: row.value("state"))
        self.target = TenantMigrations.target(
            tenant: self.name, schema: try row.value("schema_name"), owner: try row.value("owner_role"),
            runtime: try row.value("runtime_role"))
        self.privileges = PrivilegeSQL(
            schema: try row.value("schema_name"), owner: try row.value("owner_role"),
            runtime: try row.value("runtime_role"), engine: try row.value("engine_role"))
        let sources: [String] = try row.value("sources")
        let numbers: [Int] = try row.value("versions")
        var versions = Dictionary(zip(sources, numbers), uniquingKeysWith: max)
        versions[MigrationSet.embeddedSource] = try row.value("version", as: Int.self)
        self.versions = versions
    }

    /// What the sets have beyond the registered versions, and where they fall short of them.
    func status(_ sets: [MigrationSet]) -> TenantMigrationStatus {
        TenantMigrationStatus(
            tenant: self.name, schema: self.target.schema, state: self.state,
            version: self.versions[MigrationSet.embeddedSource] ?? 0,
            pending: sets.flatMap { set in
                set.migrations.filter { $0.version > self.versions[set.source] ?? 0 }.map { "\(set.source)/\($0.name)" }
            },
            newerThanProgram: sets.filter { $0.newestVersion < self.versions[$0.source] ?? 0 }.map(\.source))
    }
}
