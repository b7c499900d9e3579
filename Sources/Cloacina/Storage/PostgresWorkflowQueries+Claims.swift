import CloacinaPostgres
import FoundationEssentials

/// The claims on what waits.
extension PostgresWorkflowQueries {
    /// Leaves the server one plan for a claim or a deletion, whatever it knows of the tables, for this transaction: by the
    /// indexes, and in their order. What the server knows is old as long as a backlog grows or drains, and without it a part of
    /// what is deleted costs as much as reading the histories of everything.
    static let byIndexes = PostgresStatement(
        trusted: """
            SELECT pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('enable_bitmapscan', 'off', true),
                pg_catalog.set_config('enable_hashjoin', 'off', true), pg_catalog.set_config('enable_mergejoin', 'off', true),
                pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true),
                pg_catalog.set_config('jit', 'off', true)
            """)

    /// The lane of a pipeline that waits: what decides which runners may take it, as the queue's index has it. See
    /// ``QueueClaim/lanes``.
    static let lane = "(CASE WHEN started_at IS NULL THEN '' ELSE version END || ' ' || workflow)"

    /// What waits that this version can read, in a condition.
    static let waits = "due_at IS NOT NULL AND format = \(StoredLimits.format)"

    /// More than any priority.
    static let aboveAll = "2147483648::int8"

    /// Those of a claim's lanes, which are sorted, that something waits in. Each step goes to the first lane that is not
    /// below the claim's next one, so it passes over all lanes that nobody asks for, and all that are empty.
    private static func filledLanes(_ lanes: String) -> String {
        """
        lanes AS (
            SELECT '' COLLATE "C" AS lane
            UNION ALL
            SELECT (
                SELECT \(self.lane) FROM cloacina_pipelines
                WHERE \(self.waits) AND \(self.lane) >= (\(lanes)::text[])[width_bucket(lanes.lane, \(lanes)::text[]) + 1]
                ORDER BY \(self.lane) LIMIT 1)
            FROM lanes WHERE lanes.lane IS NOT NULL
        ), filled AS (
            SELECT lane FROM lanes WHERE lane = ANY (\(lanes))
        ),
        """
    }

    /// How many lanes a claim asks for one by one. Of more it finds out first which are not empty.
    private static let fewLanes = 32

    /// Claims what waits, in one statement with the line of history that says so; after a position, only what comes after it
    /// with the same priority. Its last column tells whether so many candidates were others' already that there may be more:
    /// of each lane no more are considered than the window has room for.
    ///
    /// The queue's index begins with the lane, so a claim walks over nothing that the runner can't take, however much of it there
    /// is and however long it waits. The priorities of its lanes are gone through from the highest, and of each priority the
    /// oldest of all lanes come first: the rows of a lane come in the index's order up to the time, so what is due later is not
    /// read. Candidates are locked one by one until there are enough, so that no more rows are locked than may be claimed and
    /// other runners get the rest. What the claimed ones would read is added up without reading it, and the rest is left when it
    /// is enough. A line that somebody wrote in the place of the new one stays, and holds up no other pipeline's claim.
    ///
    /// Unlike other statements that search it is kept prepared, because planning it takes longer than running it; see
    /// ``byIndexes``.
    static func claim(
        _ claim: QueueClaim, after position: QueueCursor.Position? = nil, window: Int? = nil,
        byServersClock: Bool = false
    ) -> PostgresStatement {
        let now = self.now("$1", byServersClock)
        let workflows = claim.workflows.sorted { $0.key < $1.key }
        let lanes = claim.lanes
        let limit = max(0, claim.limit)
        var binds: [PostgresValue] = [
            .timestamp(claim.at), .int64(Int64(clamping: limit)), .textArray(workflows.map(\.key)),
            .textArray(workflows.map(\.value)), .uuid(claim.runner), .textArray(claim.versions.sorted()),
            .int64(Int64(clamping: max(1, claim.byteLimit))), .textArray(lanes),
            .int64(Int64(clamping: max(limit, window ?? Self.window(for: claim)))),
        ]
        func bind(_ value: PostgresValue) -> String {
            binds.append(value)
            return "$\(binds.count)"
        }
        let hasMany = position == nil && lanes.count > Self.fewLanes
        let from = hasMany ? "filled" : "unnest($8::text[]) AS filled (lane)"
        let condition = """
            revision < \(StoredLimits.claimableCount) AND epoch < \(StoredLimits.claimableCount)
            \(claim.onlyChildren ? "AND parent_id IS NOT NULL" : "")
            """
        func oldest(of priority: String, _ following: String = "") -> String {
            """
            SELECT next.id FROM \(from) CROSS JOIN LATERAL (
                SELECT id, due_at FROM cloacina_pipelines
                WHERE format = \(StoredLimits.format) AND \(self.lane) = filled.lane AND priority = \(priority)
                    AND due_at <= \(now) \(following) AND \(condition)
                ORDER BY due_at, id LIMIT $9
            ) AS next ORDER BY next.due_at, next.id LIMIT $9
            """
        }
        let candidates: String
        if let position {
            let priority = bind(.int32(Int32(clamping: position.priority)))
            let place = "(\(bind(.timestamp(position.dueAt))), \(bind(.uuid(position.id))))"
            candidates = "candidates AS (\(oldest(of: priority, "AND (due_at, id) > \(place)")))"
        } else {
            let above = claim.abovePriority.map { "AND priority > \(bind(.int32(Int32(clamping: $0))))" } ?? ""
            candidates = """
                \(hasMany ? self.filledLanes("$8") : "") levels AS (
                    SELECT \(Self.aboveAll) AS priority
                    UNION ALL
                    SELECT (
                        SELECT max(top.priority)::int8 FROM \(from) CROSS JOIN LATERAL (
                            SELECT priority FROM cloacina_pipelines
                            WHERE \(self.waits) AND \(self.lane) = filled.lane AND priority < levels.priority \(above)
                            ORDER BY priority DESC LIMIT 1
                        ) AS top)
                    FROM levels WHERE levels.priority IS NOT NULL
                ), candidates AS (
                    SELECT oldest.id FROM levels CROSS JOIN LATERAL (\(oldest(of: "levels.priority"))) AS oldest
                    WHERE levels.priority < \(Self.aboveAll) LIMIT $9
                )
                """
        }
        // The coalesce keeps the server from looking a key up in the queue's index, which it would have to read as a whole.
        return PostgresStatement(
            trusted: """
                WITH RECURSIVE \(candidates), due AS (
                    SELECT locked.id, locked.priority, locked.due_at, locked.bytes
                    FROM candidates CROSS JOIN LATERAL (
                        SELECT id, priority, due_at, octet_length(input)
                            + CASE WHEN started_at IS NULL THEN 0 ELSE \(self.historyBytes(of: "q.id")) END AS bytes
                        FROM cloacina_pipelines AS q
                        WHERE id = candidates.id AND coalesce(due_at <= \(now), false) AND workflow = ANY ($3)
                            AND (started_at IS NULL OR version = ANY ($6)) AND \(condition)
                        FOR UPDATE SKIP LOCKED
                    ) AS locked LIMIT $2
                ), sized AS (
                    SELECT id, due_at, bytes, coalesce(sum(bytes) OVER (
                        ORDER BY priority DESC, due_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
                    FROM due
                ), claimed AS (
                    UPDATE cloacina_pipelines AS p SET state = 'running', revision = p.revision + 1, epoch = p.epoch + 1,
                        owner = $5, due_at = NULL,
                        version = CASE WHEN p.started_at IS NULL
                            THEN ($4::text[])[array_position($3::text[], p.workflow)] ELSE p.version END,
                        started_at = CASE WHEN p.started_at IS NULL THEN $1 ELSE p.started_at END
                    FROM sized WHERE p.id = sized.id AND sized.before < $7
                    RETURNING p.id, p.workflow, p.version, p.state, p.revision, p.epoch, p.recoveries, p.priority, p.owner,
                        p.due_at, p.created_at, p.started_at, p.ended_at, p.timeout_ms, p.request, p.idempotency_key,
                        p.parent_id, p.depth,
                        CASE WHEN octet_length(p.input) <= \(StoredLimits.valueBytes) THEN p.input END AS input,
                        sized.due_at AS queued_at, sized.bytes
                ), happened AS (
                    INSERT INTO cloacina_events (pipeline_id, revision, position, kind, attempt, worker, at)
                    SELECT id, revision, 0, 'pipeline started', 0, $5, $1 FROM claimed ON CONFLICT DO NOTHING
                )
                SELECT \(self.pipelineColumns), queued_at, bytes, is_cut
                FROM (
                    SELECT (SELECT count(*) FROM due) < $2 AND (SELECT count(*) FROM candidates) >= $9 AS is_cut
                ) AS search LEFT JOIN claimed ON true
                ORDER BY priority DESC, queued_at, id
                """, binds)
    }

    /// How many candidates a claim considers at first: as many more than it takes as other runners may claim at the same time.
    static func window(for claim: QueueClaim) -> Int { min(max(0, claim.limit), 1 << 20) * 2 + 16 }
}
