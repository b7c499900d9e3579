import CloacinaPostgres
import CloacinaSchema
import FoundationEssentials

/// Statements that read the registry's versions and the tenants' own histories.
enum FleetQueries {
    /// One row per tenant, with its versions of further sources, whether its history is where it should be, and whether it can be
    /// read without running somebody's code; with the sessions that still run what a killed command began.
    static func versions(tenant: String?) -> PostgresStatement {
        """
        SELECT t.id, t.name, t.schema_name, t.state, t.owner_role, t.runtime_role, t.engine_role, t.version,
               t.schema_oid IS NOT NULL AS is_made, c.oid IS NOT NULL AS has_history,
               coalesce(\(unescaped: Self.isPlain), true) AS is_plain,
               coalesce(v.sources, '{}') AS sources, coalesce(v.versions, '{}') AS versions,
               coalesce(w.pids, '{}') AS remnants
        FROM cloacina.tenants t
        LEFT JOIN (SELECT tenant_id, array_agg(source) AS sources, array_agg(version) AS versions
                   FROM cloacina.tenant_versions GROUP BY tenant_id) v ON v.tenant_id = t.id
        LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema_name
        LEFT JOIN pg_catalog.pg_class c
               ON c.relnamespace = n.oid AND c.relname = 'cloacina_migrations' AND c.relkind = 'r'
        LEFT JOIN (SELECT owner, array_agg(DISTINCT pid) AS pids FROM (\(unescaped: MigratorSQL.remnants)) s GROUP BY owner) w
               ON w.owner = t.owner_role
        WHERE \(tenant.postgresValue)::text IS NULL OR t.name = \(tenant.postgresValue)
        ORDER BY t.name
        """
    }

    /// Whether nothing is tied to the table `c` that reading or planning would run, such as an index over a function of a user's:
    /// in the administrator's session such code could lay the owner's role down. What is built in leaves no dependency.
    static let isPlain = """
        NOT c.relhasrules AND NOT c.relrowsecurity AND NOT c.relhassubclass AND NOT c.relispartition AND NOT EXISTS (
            SELECT FROM (
                SELECT 'pg_class'::regclass::oid AS class, c.oid AS object
                UNION ALL SELECT 'pg_class'::regclass, i.indexrelid FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
                UNION ALL SELECT 'pg_constraint'::regclass, k.oid FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid
                UNION ALL SELECT 'pg_attrdef'::regclass, f.oid FROM pg_catalog.pg_attrdef f WHERE f.adrelid = c.oid
                UNION ALL SELECT 'pg_statistic_ext'::regclass, s.oid FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = c.oid
            ) p JOIN pg_catalog.pg_depend d ON d.classid = p.class AND d.objid = p.object
            WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass, 'pg_opclass'::regclass,
                                   'pg_opfamily'::regclass))
        """

    /// A tenant's history as one text, read as its owner in a transaction with ``settings``.
    ///
    /// Most tenants of a fleet have the same text, which is then decoded and compared once.
    static func history(_ target: MigrationTarget) -> [PostgresStatement] {
        [
            self.act(target),
            PostgresStatement(
                """
                SELECT string_agg(concat_ws(E'\\x1f', source, version, title, canonical_checksum, raw_checksum, state,
                           translate(coalesce(error, ''), E'\\x1e\\x1f', '  ')), E'\\x1e' ORDER BY source, version) AS history
                FROM \(self.table(target))
                """, prepared: false),
        ]
    }

    /// Keeps everybody from changing what a history is until the transaction ends, and nobody from writing rows: who waits for
    /// somebody's lock on a table reads what that one put in its place.
    static func lock(_ target: MigrationTarget) -> [PostgresStatement] {
        [
            self.act(target),
            PostgresStatement("LOCK TABLE ONLY \(self.table(target)) IN SHARE UPDATE EXCLUSIVE MODE", prepared: false),
        ]
    }

    /// Fails with ``assertionFailure`` unless the histories of all of several schemas, once locked, can be read without running
    /// somebody's code, and are no larger than what is read.
    static func arePlain(_ schemas: [String]) -> PostgresStatement {
        """
        SELECT 1 / CASE WHEN count(*) = cardinality(\(schemas)::text[]) THEN 1 ELSE 0 END AS are_plain
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = ANY (\(schemas)::text[]) AND c.relname = 'cloacina_migrations' AND c.relkind = 'r'
          AND c.reltoastrelid = 0 AND pg_relation_size(c.oid) <= \(Self.mostBytes) AND \(unescaped: self.isPlain)
        """
    }

    /// The bytes that a history may have to be read: room for some 20,000 rows. As it is made, no value of it is stored elsewhere.
    private static let mostBytes: Int64 = 4 << 20

    /// The SQLSTATE of an assertion that does not hold.
    static let assertionFailure = "22012"

    /// Settings of the transaction in which histories are read: nothing is written, a policy is an error, and nobody is waited for
    /// for long.
    static let settings: PostgresStatement = """
        SELECT set_config('row_security', 'off', true), set_config('transaction_read_only', 'on', true),
               set_config('lock_timeout', '5s', true)
        """

    private static func act(_ target: MigrationTarget) -> PostgresStatement {
        "SELECT set_config('role', \(target.owner ?? "none"), true)"
    }

    private static func table(_ target: MigrationTarget) -> String {
        PostgresIdentifier.quote(target.schema) + ".cloacina_migrations"
    }

    /// The rows of a history's text.
    static func records(_ text: String) -> [MigrationRecord] {
        text.utf8.split(separator: 0x1E).compactMap { row in
            let fields = row.split(separator: 0x1F, omittingEmptySubsequences: false).map { String($0) ?? "" }
            guard fields.count == 7, let version = Int(fields[1]) else { return nil }
            return MigrationRecord(
                source: fields[0], version: version, title: fields[2], canonicalChecksum: fields[3],
                rawChecksum: fields[4],
                // A state of a later version of this library is one we know nothing about.
                state: MigrationRecord.State(rawValue: fields[5]) ?? .failedUnknown,
                error: fields[6].isEmpty ? nil : fields[6])
        }
    }
}

/// A tenant and its versions by the registry.
struct RegisteredTenant: Sendable {
    let id: UUID
    let name: String
    let state: Tenant.State
    let target: MigrationTarget
    /// The role as which its files run.
    let owner: String
    /// The rights of its roles in its schema.
    let privileges: PrivilegeSQL
    let versions: [String: Int]
    /// True once its schema has been made.
    let isMade: Bool
    let hasHistory: Bool
    /// False when reading the history could run somebody's code.
    let isPlain: Bool
    /// The sessions in which a file still runs for a command that was killed.
    let remnants: [Int32]

    init(_ row: PostgresRow) throws {
        self.id = try row.value("id")
        self.name = try row.value("name")
        self.state = try Tenant.State(registry: row.value("state"))
        self.target = TenantMigrations.target(
            tenant: self.name, schema: try row.value("schema_name"), owner: try row.value("owner_role"),
            runtime: try row.value("runtime_role"))
        self.owner = try row.value("owner_role")
        self.privileges = PrivilegeSQL(
            schema: try row.value("schema_name"), owner: self.owner,
            runtime: try row.value("runtime_role"), engine: try row.value("engine_role"))
        self.isMade = try row.value("is_made")
        self.hasHistory = try row.value("has_history")
        self.isPlain = try row.value("is_plain")
        self.remnants = try row.value("remnants")
        let sources: [String] = try row.value("sources")
        let numbers: [Int] = try row.value("versions")
        var versions = Dictionary(zip(sources, numbers), uniquingKeysWith: max)
        versions[MigrationSet.embeddedSource] = try row.value("version", as: Int.self)
        self.versions = versions
    }
}
