import CloacinaPostgres
import FoundationEssentials

/// The statements of ``PostgresWorkflowStore``. The tables' names carry no schema: the lease's label decides whose they are.
///
/// What is kept prepared reaches its rows by the whole primary key with bound values, so that the plan made while a new
/// tenant's tables are empty is the plan for full ones. What joins or searches is planned each time it runs, except for the claim,
/// which is given no choice of a plan. Times are bound, but for the server's own where a runner's clock may be ahead of everybody
/// else's, and there is no volatile function, so all of it also runs where the schema is distributed (Citus).
enum PostgresWorkflowQueries {
    /// Stores pipelines and the first line of each one's history; answers the ids of those that were not there.
    ///
    /// A pipeline that is to begin at once is due by the server's clock when that is behind the creator's: see ``dueNow(_:)``.
    ///
    /// - Parameter byServersClock: Whether a delay begins by the server's clock, by which it ends; see ``now(_:_:)``.
    static func create(_ pipelines: [NewPipeline], byServersClock: Bool = false) -> PostgresStatement {
        let delayed = self.later("n.due_at", asOf: "n.created_at", byServersClock)
        return PostgresStatement(
            trusted: """
                WITH pipeline AS (
                    INSERT INTO cloacina_pipelines (id, workflow, version, format, state, revision, epoch, recoveries, priority,
                        owner, due_at, created_at, started_at, timeout_ms, idempotency_key, parent_id, depth, input)
                    SELECT n.id, n.workflow, n.version, \(StoredLimits.format), CASE WHEN n.owner IS NULL THEN 'queued' ELSE 'running' END, 1,
                        CASE WHEN n.owner IS NULL THEN 0 ELSE 1 END, 0, n.priority, n.owner,
                        CASE WHEN n.due_at <= n.created_at THEN \(self.dueNow("n.due_at")) ELSE \(delayed) END, n.created_at,
                        CASE WHEN n.owner IS NOT NULL THEN n.created_at END, nullif(n.timeout_ms, -1),
                        n.idempotency_key, n.parent_id, n.depth, n.input
                    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int4[], $5::uuid[], $6::timestamptz[],
                            $7::timestamptz[], $8::int8[], $9::text[], $10::text[], $11::uuid[], $12::int4[])
                        AS n (id, workflow, version, priority, owner, due_at, created_at, timeout_ms, idempotency_key, input,
                            parent_id, depth)
                    ON CONFLICT DO NOTHING
                    RETURNING id, owner, created_at, due_at
                ), happened AS (
                    INSERT INTO cloacina_events (pipeline_id, revision, position, kind, attempt, worker, at, due_at)
                    SELECT id, 1, 0, CASE WHEN owner IS NULL THEN 'pipeline queued' ELSE 'pipeline started' END, 0, owner,
                        created_at, due_at
                    FROM pipeline
                )
                SELECT id FROM pipeline
                """,
            [
                .uuidArray(pipelines.map(\.id)), .textArray(pipelines.map(\.workflow)),
                .textArray(pipelines.map(\.version)),
                .int32Array(pipelines.map { Int32(clamping: $0.options.priority) }),
                .optionalUUIDArray(pipelines.map(\.owner)), .optionalTimestampArray(pipelines.map(\.dueAt)),
                .timestampArray(pipelines.map(\.at)),
                .int64Array(pipelines.map { $0.options.timeout?.wholeMilliseconds ?? -1 }),
                .optionalTextArray(pipelines.map(\.options.idempotencyKey)),
                .textArray(pipelines.map(\.input.jsonText)), .optionalUUIDArray(pipelines.map(\.parent)),
                .int32Array(pipelines.map { Int32(clamping: $0.depth) }),
            ])
    }

    /// The place of what is due at once: the time that its runner's clock shows, or the server's where that is earlier. A runner whose
    /// clock is an hour ahead would otherwise put off what it hands to the others by an hour.
    static func dueNow(_ time: String) -> String { "least(\(time), statement_timestamp())" }

    /// A time that a host's clock has ahead of it, a century at most, by the clock by which it is due then. In UTC, where a day
    /// has 24 hours.
    static func later(_ time: String, asOf now: String, _ byServersClock: Bool) -> String {
        guard byServersClock else { return time }
        return """
            CASE WHEN \(time) IS NOT NULL THEN (statement_timestamp() AT TIME ZONE 'UTC' \
            + (least(\(time), \(now) + interval '36525 days') - \(now))) AT TIME ZONE 'UTC' END
            """
    }

    /// The time by which something is due: the server's, which is the same for all hosts, or the runner's where a test has its own.
    static func now(_ time: String, _ byServersClock: Bool) -> String {
        byServersClock ? "statement_timestamp()" : time
    }

    /// The time that a host's clock, which shows a time now, will show when something is due, or in a day if that is sooner.
    static func byHostsClock(_ due: String, asOf now: String, _ byServersClock: Bool) -> String {
        guard byServersClock else { return due }
        return """
            CASE WHEN \(due) IS NOT NULL \
            THEN \(now) + (least(\(due), statement_timestamp() + interval '24 hours') - statement_timestamp()) END
            """
    }

    /// Takes the keys of new pipelines from those of the same workflow that failed or were cancelled; to be followed by
    /// ``create(_:)`` in the same transaction. Not for one that is stored already: its creation would not be.
    static func releaseKeys(for pipelines: [NewPipeline]) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                UPDATE cloacina_pipelines AS p SET idempotency_key = NULL
                FROM unnest($1::text[], $2::text[], $3::uuid[]) AS n (idempotency_key, workflow, id)
                WHERE p.idempotency_key = ANY ($1) AND p.idempotency_key = n.idempotency_key AND p.workflow = n.workflow
                    AND p.state IN ('failed', 'cancelled') AND p.parent_id IS NULL
                    AND NOT EXISTS (SELECT FROM cloacina_pipelines AS same WHERE same.id = n.id)
                """,
            [
                .textArray(pipelines.map { $0.options.idempotencyKey ?? "" }), .textArray(pipelines.map(\.workflow)),
                .uuidArray(pipelines.map(\.id)),
            ], prepared: false)
    }

    /// The holders of these new pipelines' keys, by their places from 1 among them, and if the input is the same text; and, without
    /// a place, those of their ids that there are.
    static func holders(of pipelines: [NewPipeline]) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT n.place::int8 AS place, p.id, p.workflow, p.parent_id, p.input = n.input AS has_same_text
                FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (idempotency_key, input, place)
                    JOIN cloacina_pipelines AS p ON p.idempotency_key = n.idempotency_key
                WHERE p.idempotency_key = ANY ($1)
                UNION ALL
                SELECT NULL, id, NULL, NULL, NULL FROM cloacina_pipelines WHERE id = ANY ($3)
                """,
            [
                .optionalTextArray(pipelines.map(\.options.idempotencyKey)),
                .textArray(pipelines.map(\.input.jsonText)),
                .uuidArray(pipelines.map(\.id)),
            ], prepared: false)
    }

    /// The input of a pipeline as long as it has a key, unless that is beyond what is read: then NULL.
    static func input(of holder: UUID, key: String) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT CASE WHEN octet_length(input) <= \(StoredLimits.valueBytes) THEN input END AS input
                FROM cloacina_pipelines WHERE id = $1 AND idempotency_key = $2
                """, [.uuid(holder), .text(key)])
    }

    /// Makes a creation give up, for this transaction, when somebody else's holds its idempotency key and doesn't end.
    static let impatiently = PostgresStatement(
        trusted: "SELECT pg_catalog.set_config('lock_timeout', '100ms', true)")
}
