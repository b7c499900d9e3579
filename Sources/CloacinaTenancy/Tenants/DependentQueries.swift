import CloacinaPostgres

/// The question what else goes with a tenant's schema.
enum DependentQueries {
    /// How many dependents are named; how many there are is counted.
    static let shown = 20

    /// What belongs to others, lies outside the schema, and is dropped with it by `CASCADE`: views, columns, constraints,
    /// defaults, indexes, rules, triggers, functions and what in turn depends on those.
    ///
    /// The walk goes the way that PostgreSQL's own goes: from what is dropped to whatever depends on it, and from a part,
    /// such as a view's rule, to its whole. One column of a table is not the table.
    static func dependents(of schema: Int64, roles: [Int64]) -> PostgresStatement {
        """
        WITH RECURSIVE it AS MATERIALIZED (
            SELECT \(schema)::bigint::oid AS schema, \(roles)::bigint[]::oid[] AS roles
        ), gone (classid, objid, subid) AS (
            SELECT 'pg_namespace'::regclass::oid, it.schema, 0 FROM it
            UNION
            SELECT n.classid, n.objid, n.subid FROM gone g CROSS JOIN LATERAL (
                SELECT d.classid, d.objid, d.objsubid AS subid FROM pg_depend d
                WHERE d.refclassid = g.classid AND d.refobjid = g.objid AND (g.subid = 0 OR d.refobjsubid = g.subid)
                UNION ALL
                SELECT d.refclassid, d.refobjid, d.refobjsubid FROM pg_depend d
                WHERE d.classid = g.classid AND d.objid = g.objid AND d.deptype = 'i'
            ) n
        ), dependents AS (
            SELECT DISTINCT pg_describe_object(g.classid, g.objid, g.subid) AS object
            FROM gone g CROSS JOIN it CROSS JOIN LATERAL (\(unescaped: Self.places)) o
            WHERE o.namespace <> it.schema AND o.namespace <> 'pg_toast'::regnamespace AND o.owner <> ALL (it.roles)
        )
        SELECT object, count(*) OVER () AS total FROM dependents ORDER BY object LIMIT \(Self.shown)
        """
    }

    /// The schema and the owner of an object `g`: those of its table when it is part of one. Without a row it is nothing
    /// that somebody would miss, such as a row type.
    private static let places = """
        SELECT c.relnamespace AS namespace, c.relowner AS owner FROM pg_class c
        WHERE c.relkind <> 't' AND c.oid = CASE g.classid
            WHEN 'pg_class'::regclass THEN g.objid
            WHEN 'pg_rewrite'::regclass THEN (
                SELECT ev_class FROM pg_rewrite WHERE oid = g.objid AND rulename <> '_RETURN')
            WHEN 'pg_constraint'::regclass THEN (SELECT conrelid FROM pg_constraint WHERE oid = g.objid)
            WHEN 'pg_attrdef'::regclass THEN (SELECT adrelid FROM pg_attrdef WHERE oid = g.objid)
            WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = g.objid AND NOT tgisinternal)
            WHEN 'pg_policy'::regclass THEN (SELECT polrelid FROM pg_policy WHERE oid = g.objid) END
        UNION ALL
        SELECT p.pronamespace, p.proowner FROM pg_proc p WHERE g.classid = 'pg_proc'::regclass AND p.oid = g.objid
        UNION ALL
        SELECT t.typnamespace, t.typowner FROM pg_type t
        WHERE g.classid = 'pg_type'::regclass AND t.oid = g.objid AND t.typrelid = 0 AND t.typelem = 0
        UNION ALL
        SELECT o.oprnamespace, o.oprowner FROM pg_operator o WHERE g.classid = 'pg_operator'::regclass AND o.oid = g.objid
        UNION ALL
        SELECT s.stxnamespace, s.stxowner FROM pg_statistic_ext s
        WHERE g.classid = 'pg_statistic_ext'::regclass AND s.oid = g.objid
        UNION ALL
        SELECT 0::oid, e.evtowner FROM pg_event_trigger e WHERE g.classid = 'pg_event_trigger'::regclass AND e.oid = g.objid
        UNION ALL
        SELECT 0::oid, p.pubowner FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
        WHERE g.classid = 'pg_publication_rel'::regclass AND r.oid = g.objid
        UNION ALL
        SELECT e.extnamespace, e.extowner FROM pg_extension e WHERE g.classid = 'pg_extension'::regclass AND e.oid = g.objid
        """
}
