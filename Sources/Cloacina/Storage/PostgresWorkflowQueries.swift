import CloacinaPostgres
import FoundationEssentials

/// The statements of ``PostgresWorkflowStore``. The tables' names carry no schema: the lease's label decides whose they are.
///
/// What is kept prepared reaches its rows by the whole primary key with bound values, so that the plan made while a new
/// tenant's tables are empty is the plan for full ones. What joins or searches is planned each time it runs, except for the claim,
/// which is given no choice of a plan. Times are bound
/// and there is no volatile function, so all of it also runs where the schema is distributed (Citus).
enum PostgresWorkflowQueries {
    /// Stores pipelines and the first line of each one's history; answers the ids of those that were not there.
    static func create(_ pipelines: [NewPipeline]) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH pipeline AS (
                    INSERT INTO cloacina_pipelines (id, workflow, version, format, state, revision, epoch, recoveries, priority,
                        owner, due_at, created_at, started_at, timeout_ms, idempotency_key, parent_id, depth, input)
                    SELECT n.id, n.workflow, n.version, \(StoredLimits.format), CASE WHEN n.owner IS NULL THEN 'queued' ELSE 'running' END, 1,
                        CASE WHEN n.owner IS NULL THEN 0 ELSE 1 END, 0, n.priority, n.owner, n.due_at, n.created_at,
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

    // MARK: Transitions

    private static let eventColumns = """
        pipeline_id, revision, position, kind, task, attempt, worker, started_at, at, due_at, reason, detail, delta
        """

    /// The columns of an event in the arrays that ``binds(of:)`` makes, which begin at a parameter.
    private static func eventArrays(from first: Int) -> String {
        let types = [
            "text", "text", "int4", "uuid", "timestamptz", "timestamptz", "timestamptz", "text", "text", "text",
        ]
        return types.enumerated().map { "$\(first + $0.offset)::\($0.element)[]" }.joined(separator: ", ")
    }

    private static let arrayColumns = "kind, task, attempt, worker, started_at, at, due_at, reason, detail, delta"
    private static let eventValues = """
        e.kind, e.task, e.attempt, e.worker, e.started_at, e.at, e.due_at, e.reason, e.detail, e.delta
        """

    /// What stays stored of a request when a pipeline comes to a status; ``PipelineTransition/keeps(_:)`` in SQL.
    private static func pending(_ request: String, at status: String) -> String {
        """
        CASE WHEN \(status) = 'running' OR \(status) = 'queued' AND \(request) <> 'resume' OR \(status) = 'paused' AND \(request) <> 'pause' \
        THEN \(request) END
        """
    }

    /// One transition: the statement of a healthy pipeline. It answers a row unless the revision or the epoch has changed,
    /// and then nothing is stored. Own commits that it folds in are taken away where they stand apart.
    static func apply(_ change: PipelineChange) -> PostgresStatement {
        let transition = change.transition
        var binds: [PostgresValue] = [
            .uuid(change.id), .int32(Int32(clamping: transition.expectedRevision)),
            .int32(Int32(clamping: change.epoch)),
            .text(transition.status.rawValue), transition.dueAt.map { .timestamp($0) } ?? .null,
            transition.status.isTerminal ? .timestamp(change.at) : .null,
        ]
        binds += self.binds(of: transition.events)
        binds += [
            transition.output.map { .text($0) } ?? .null, transition.outcomes.map { .text($0) } ?? .null,
            .bool(transition.isUnbegun), transition.version.map { .text($0) } ?? .null,
        ]
        var (folding, offset, unbegun) = ("", "", "$19")
        if transition.foldsEverything {
            // Whoever found no task's line may have looked before one committed itself.
            unbegun += " AND NOT EXISTS (SELECT FROM cloacina_task_commits AS c WHERE c.pipeline_id = $1)"
            // They come before the lines of the transition.
            folding = self.foldEverything(of: "SELECT id, revision FROM guard")
            offset = " + (SELECT count(*) FROM commits)::int4"
        } else if !transition.folds.isEmpty {
            folding = """
                , commits AS (
                    DELETE FROM cloacina_task_commits AS c USING guard WHERE c.pipeline_id = $1 AND c.task = ANY ($21)
                )
                """
            binds.append(.textArray(transition.folds))
        }
        return PostgresStatement(
            trusted: """
                WITH guard AS (
                    UPDATE cloacina_pipelines SET revision = $2 + 1, state = $4, due_at = $5, ended_at = $6,
                        owner = CASE $4 WHEN 'running' THEN owner END, output = $17, outcomes = $18,
                        started_at = CASE WHEN \(unbegun) THEN NULL ELSE started_at END, version = coalesce($20, version),
                        request = \(self.pending("request", at: "$4"))
                    WHERE id = $1 AND revision = $2 AND epoch = $3
                    RETURNING id, revision, request
                )\(folding), happened AS (
                    INSERT INTO cloacina_events (\(self.eventColumns))
                    SELECT $1, $2 + 1, e.position\(offset), \(self.eventValues)
                    FROM guard, unnest(\(self.eventArrays(from: 7))) WITH ORDINALITY AS e (\(self.arrayColumns), position)
                )
                SELECT request FROM guard
                """, binds)
    }

    /// Makes lines of all own commits of pipelines that stand apart; their numbers come from 0 in each pipeline.
    private static func foldEverything(of pipelines: String) -> String {
        """
        , commits AS (
            DELETE FROM cloacina_task_commits AS c USING (\(pipelines)) AS g WHERE c.pipeline_id = g.id
            RETURNING c.pipeline_id, g.revision, c.task, c.attempt, c.worker, c.started_at, c.at, c.delta
        ), folded AS (
            INSERT INTO cloacina_events (pipeline_id, revision, position, kind, task, attempt, worker, started_at, at, delta)
            SELECT pipeline_id, revision, row_number() OVER (PARTITION BY pipeline_id ORDER BY at, task) - 1,
                'task completed', task, attempt, worker, started_at, at, delta
            FROM commits
        )
        """
    }

    /// Transitions of several pipelines at once; answers the ids of those that are stored. None of them folds everything.
    static func apply(_ changes: [PipelineChange]) -> PostgresStatement {
        let events = changes.flatMap(\.transition.events)
        var binds: [PostgresValue] = [
            .uuidArray(changes.map(\.id)), .int32Array(changes.map { Int32(clamping: $0.transition.expectedRevision) }),
            .int32Array(changes.map { Int32(clamping: $0.epoch) }),
            .textArray(changes.map(\.transition.status.rawValue)),
            .optionalTimestampArray(changes.map(\.transition.dueAt)),
            .optionalTimestampArray(changes.map { $0.transition.status.isTerminal ? $0.at : nil }),
        ]
        binds += self.binds(of: events)
        binds += [
            .uuidArray(changes.flatMap { change in change.transition.events.map { _ in change.id } }),
            .int32Array(changes.flatMap { $0.transition.events.indices.map { Int32(clamping: $0 + 1) } }),
            .optionalTextArray(changes.map(\.transition.output)),
            .optionalTextArray(changes.map(\.transition.outcomes)),
            .boolArray(changes.map(\.transition.isUnbegun)), .optionalTextArray(changes.map(\.transition.version)),
        ]
        var folding = ""
        if changes.contains(where: { !$0.transition.folds.isEmpty }) {
            folding = """
                , commits AS (
                    DELETE FROM cloacina_task_commits AS c
                    USING unnest($23::uuid[], $24::text[]) AS f (pipeline_id, task) JOIN guard ON guard.id = f.pipeline_id
                    WHERE c.pipeline_id = f.pipeline_id AND c.task = f.task
                )
                """
            binds += [
                .uuidArray(changes.flatMap { change in change.transition.folds.map { _ in change.id } }),
                .textArray(changes.flatMap(\.transition.folds)),
            ]
        }
        return PostgresStatement(
            trusted: """
                WITH guard AS (
                    UPDATE cloacina_pipelines AS p SET revision = c.revision + 1, state = c.state, due_at = c.due_at,
                        ended_at = c.ended_at, owner = CASE c.state WHEN 'running' THEN p.owner END, output = c.output,
                        outcomes = c.outcomes, started_at = CASE WHEN c.is_unbegun THEN NULL ELSE p.started_at END,
                        version = coalesce(c.version, p.version), request = \(self.pending("p.request", at: "c.state"))
                    FROM unnest($1::uuid[], $2::int4[], $3::int4[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                            $19::text[], $20::text[], $21::bool[], $22::text[])
                        AS c (id, revision, epoch, state, due_at, ended_at, output, outcomes, is_unbegun, version)
                    WHERE p.id = c.id AND p.revision = c.revision AND p.epoch = c.epoch
                    RETURNING p.id, p.revision, p.request
                )\(folding), happened AS (
                    INSERT INTO cloacina_events (\(self.eventColumns))
                    SELECT g.id, g.revision, e.position, \(self.eventValues)
                    FROM unnest(\(self.eventArrays(from: 7)), $17::uuid[], $18::int4[])
                        AS e (\(self.arrayColumns), pipeline_id, position)
                        JOIN guard AS g ON g.id = e.pipeline_id
                )
                SELECT id, request FROM guard
                """, binds, prepared: false)
    }

    /// A completion inside a task's own transaction, if the claim still holds; a row says that it is written. The lock keeps
    /// anyone from taking the pipeline over before the commit.
    static func commit(_ event: PipelineEvent, at place: TaskPlace) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH claim AS (
                    SELECT id FROM cloacina_pipelines WHERE id = $1 AND epoch = $2 AND state = 'running' FOR SHARE
                )
                INSERT INTO cloacina_task_commits (pipeline_id, task, epoch, attempt, worker, started_at, at, delta)
                SELECT id, $3, $2, $4, $5, $6, $7, $8 FROM claim
                ON CONFLICT DO NOTHING
                RETURNING task
                """,
            [
                .uuid(place.pipeline), .int32(Int32(clamping: place.epoch)), .text(place.task),
                .int32(Int32(clamping: event.attempt)), event.worker.map { .uuid($0) } ?? .null,
                event.startedAt.map { .timestamp($0) } ?? .null, .timestamp(event.at),
                event.delta.flatMap { $0.isEmpty ? nil : .text($0.jsonText) } ?? .null,
            ])
    }

    /// Waits until nobody is committing a completion of the pipeline's.
    static func lock(_ id: UUID) -> PostgresStatement {
        PostgresStatement(trusted: "SELECT id FROM cloacina_pipelines WHERE id = $1 FOR UPDATE", [.uuid(id)])
    }

    /// Finds the completion that an attempt committed itself, whether it stands apart or was folded in.
    static func ownCommit(at place: TaskPlace, attempt: Int) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT task FROM cloacina_task_commits WHERE pipeline_id = $1 AND task = $2 AND attempt = $3
                UNION ALL
                SELECT task FROM cloacina_events
                WHERE pipeline_id = $1 AND task = $2 AND attempt = $3 AND kind = 'task completed'
                """, [.uuid(place.pipeline), .text(place.task), .int32(Int32(clamping: attempt))])
    }

    private static func binds(of events: [PipelineEvent]) -> [PostgresValue] {
        [
            .textArray(events.map(\.kind.rawValue)), .optionalTextArray(events.map(\.task)),
            .int32Array(events.map { Int32(clamping: $0.attempt) }), .optionalUUIDArray(events.map(\.worker)),
            .optionalTimestampArray(events.map(\.startedAt)), .timestampArray(events.map(\.at)),
            .optionalTimestampArray(events.map(\.dueAt)), .optionalTextArray(events.map { $0.reason?.rawValue }),
            .optionalTextArray(events.map(\.detail)),
            .optionalTextArray(events.map { $0.delta.flatMap { $0.isEmpty ? nil : $0.jsonText } }),
        ]
    }

    // MARK: Reading

    private static let pipelineColumns = """
        id, workflow, version, state, revision, epoch, recoveries, priority, owner, due_at, created_at, started_at, ended_at,
        timeout_ms, request, idempotency_key, parent_id, depth, input
        """

    static func load(_ id: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: "SELECT \(self.pipelineColumns), output, outcomes FROM cloacina_pipelines WHERE id = $1",
            [.uuid(id)])
    }

    static func status(of id: UUID) -> PostgresStatement {
        PostgresStatement(trusted: "SELECT state FROM cloacina_pipelines WHERE id = $1", [.uuid(id)])
    }

    /// The bytes that the lines of a history take up, own commits that stand apart among them, in a subquery; counted without
    /// reading the values. More than are read where there are more lines than are counted.
    private static func historyBytes(of pipeline: String) -> String {
        """
        (SELECT coalesce(sum(200 + coalesce(octet_length(h.detail), 0) + coalesce(octet_length(h.delta), 0)), 0)::int8
            + CASE WHEN count(*) > \(StoredLimits.historyLines) THEN \(StoredLimits.historyBytes + 1) ELSE 0 END FROM (
            (SELECT detail, delta FROM cloacina_events WHERE pipeline_id = \(pipeline) LIMIT \(StoredLimits.historyLines + 1))
            UNION ALL
            (SELECT NULL, delta FROM cloacina_task_commits WHERE pipeline_id = \(pipeline) LIMIT \(StoredLimits.historyLines + 1))
        ) AS h)
        """
    }

    /// A history, unless it is beyond what is read: then one row without a kind.
    static func history(_ id: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH size AS (SELECT \(self.historyBytes(of: "$1")) <= \(StoredLimits.historyBytes) AS fits)
                SELECT \(self.eventColumns) FROM cloacina_events WHERE pipeline_id = $1 AND (SELECT fits FROM size)
                UNION ALL
                SELECT $1, 0, 0, NULL, NULL, 0, NULL, NULL, 'epoch', NULL, NULL, NULL, NULL FROM size WHERE NOT fits
                ORDER BY revision, position
                """, [.uuid(id)])
    }

    /// The histories of pipelines; those that are beyond what is read are one row without a kind each.
    static func histories(_ ids: [UUID]) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH sizes AS (
                    SELECT p.id, \(self.historyBytes(of: "p.id")) <= \(StoredLimits.historyBytes) AS fits
                    FROM unnest($1::uuid[]) AS p (id)
                )
                SELECT \(self.eventColumns) FROM cloacina_events
                WHERE pipeline_id = ANY (ARRAY(SELECT id FROM sizes WHERE fits))
                UNION ALL
                SELECT id, 0, 0, NULL, NULL, 0, NULL, NULL, 'epoch', NULL, NULL, NULL, NULL FROM sizes WHERE NOT fits
                ORDER BY pipeline_id, revision, position
                """, [.uuidArray(ids)], prepared: false)
    }

    /// The own commits that stand apart, as far as a pipeline's are not beyond what is read, of which its history tells. To be asked
    /// before the pipelines and their histories: what is folded in meanwhile is then found twice, never not at all.
    static func commits(_ ids: [UUID]) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT pipeline_id, 'task completed' AS kind, task, attempt, worker, started_at, at, NULL::timestamptz AS due_at,
                    NULL AS reason, NULL AS detail, delta
                FROM (
                    SELECT *, sum(200 + coalesce(octet_length(delta), 0)) OVER (PARTITION BY pipeline_id) AS bytes
                    FROM cloacina_task_commits WHERE pipeline_id = ANY ($1)
                ) AS commits WHERE bytes <= \(StoredLimits.historyBytes)
                ORDER BY pipeline_id, at, task
                """, [.uuidArray(ids)])
    }

    static func list(_ query: PipelineQuery) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT id, workflow, version, state, created_at, started_at, ended_at, recoveries FROM cloacina_pipelines
                WHERE ($1::text IS NULL OR workflow = $1) AND ($2::text[] IS NULL OR state = ANY ($2))
                    AND ($3::uuid IS NULL OR id < $3)
                ORDER BY id DESC LIMIT $4
                """,
            [
                query.workflow.map { .text($0) } ?? .null,
                query.statuses.isEmpty ? .null : .textArray(query.statuses.map(\.rawValue).sorted()),
                query.after.map { .uuid($0) } ?? .null, .int64(Int64(clamping: PipelineQuery.pageSize(query.limit))),
            ], prepared: false)
    }

    /// Walks the primary key backwards. A page ends with the line that reaches the bytes that one reads.
    static func events(_ query: EventQuery) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT \(self.eventColumns) FROM (
                    SELECT *, sum(
                        200 + coalesce(octet_length(task), 0) + coalesce(octet_length(detail), 0) + coalesce(octet_length(delta), 0)
                    ) OVER (
                        ORDER BY pipeline_id DESC, revision DESC, position DESC
                        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes
                    FROM (
                        SELECT \(self.eventColumns) FROM cloacina_events
                        WHERE ($1::text[] IS NULL OR kind = ANY ($1)) AND ($2::text IS NULL OR task = $2)
                            AND ($3::uuid IS NULL OR pipeline_id = $3)
                            AND ($4::uuid IS NULL OR (pipeline_id, revision, position) < ($4, $5::int4, $6::int4))
                        ORDER BY pipeline_id DESC, revision DESC, position DESC LIMIT $7
                    ) AS page
                ) AS sized WHERE bytes IS NULL OR bytes < \(QueueClaim.defaultByteLimit)
                ORDER BY pipeline_id DESC, revision DESC, position DESC
                """,
            [
                query.kinds.isEmpty ? .null : .textArray(query.kinds.map(\.rawValue).sorted()),
                query.task.map { .text($0) } ?? .null, query.pipeline.map { .uuid($0) } ?? .null,
                query.after.map { .uuid($0.pipeline) } ?? .null,
                query.after.map { .int32(Int32(clamping: $0.revision)) } ?? .null,
                query.after.map { .int32(Int32(clamping: $0.position)) } ?? .null,
                .int64(Int64(clamping: PipelineQuery.pageSize(query.limit))),
            ], prepared: false)
    }

    /// The children of pipelines that have not ended.
    static func children(of id: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT id FROM cloacina_pipelines WHERE parent_id = $1 AND ended_at IS NULL
                ORDER BY id LIMIT \(StoredLimits.surveyRows)
                """, [.uuid(id)], prepared: false)
    }

    // MARK: The queue

    /// Makes a creation give up, for this transaction, when somebody else's holds its idempotency key and doesn't end.
    static let impatiently = PostgresStatement(
        trusted: "SELECT pg_catalog.set_config('lock_timeout', '100ms', true)")

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
    private static let lane = "(CASE WHEN started_at IS NULL THEN '' ELSE version END || ' ' || workflow)"

    /// What waits that this version can read, in a condition.
    private static let waits = "due_at IS NOT NULL AND format = \(StoredLimits.format)"

    /// More than any priority.
    private static let aboveAll = "2147483648::int8"

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
    /// is enough.
    ///
    /// Unlike other statements that search it is kept prepared, because planning it takes longer than running it; see
    /// ``byIndexes``.
    static func claim(
        _ claim: QueueClaim, after position: QueueCursor.Position? = nil, window: Int? = nil
    ) -> PostgresStatement {
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
                    AND due_at <= $1 \(following) AND \(condition)
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
                        WHERE id = candidates.id AND coalesce(due_at <= $1, false) AND workflow = ANY ($3)
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
                    SELECT id, revision, 0, 'pipeline started', 0, $5, $1 FROM claimed
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

    // MARK: Runners

    static func ask(_ request: PipelineRequest, of id: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                UPDATE cloacina_pipelines SET request = $2
                WHERE id = $1 AND state = 'running' AND request IS DISTINCT FROM 'cancel'
                """,
            [.uuid(id), .text(request.rawValue)])
    }

    static func beat(_ runner: UUID, number: Int, isStopping: Bool, at: Date) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                INSERT INTO cloacina_runners (id, beats, seen_at, is_stopping) VALUES ($1, $2, $3, $4)
                ON CONFLICT (id) DO UPDATE SET beats = $2, seen_at = $3, is_stopping = $4
                """, [.uuid(runner), .int32(Int32(truncatingIfNeeded: number)), .timestamp(at), .bool(isStopping)])
    }

    static func requests(of runner: UUID, _ pipelines: [UUID]) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT id, request FROM cloacina_pipelines WHERE id = ANY ($2) AND owner = $1
                """, [.uuid(runner), .uuidArray(pipelines)], prepared: false)
    }

    /// The runners with their beats, and a row without an id whose number is NULL when nothing waits. It is all that is asked of a tenant that has nothing to do, and kept short for that. With `everyOwner`,
    /// also the owners of running pipelines that never said anything, and the pipelines that stand still with what was asked of
    /// them: each by an index that holds no others. What waits is told by whoever claims it, but perhaps nobody can: so a cancel
    /// of it is among them.
    ///
    /// The order is the queue's index's, so that no statistics make the server read what doesn't wait.
    static func runners(everyOwner: Bool) -> PostgresStatement {
        let limit = "LIMIT \(StoredLimits.surveyRows)"
        let known = """
            (SELECT id, beats AS number, NULL AS request FROM cloacina_runners \(limit))
            UNION ALL
            SELECT NULL, (SELECT 1 FROM cloacina_pipelines WHERE \(self.waits) ORDER BY \(self.lane) LIMIT 1), NULL
            """
        guard everyOwner else { return PostgresStatement(trusted: known, prepared: false) }
        return PostgresStatement(
            trusted: """
                \(known)
                UNION ALL
                (SELECT DISTINCT owner, 0, NULL FROM cloacina_pipelines AS p
                WHERE state = 'running' AND owner IS NOT NULL
                    AND NOT EXISTS (SELECT FROM cloacina_runners AS r WHERE r.id = p.owner) \(limit))
                UNION ALL
                (SELECT id, 0, request FROM cloacina_pipelines
                WHERE (state = 'paused' OR state = 'queued') AND request IS NOT NULL AND (state = 'paused' OR request = 'cancel')
                \(limit))
                """, prepared: false)
    }

    /// Whether a pipeline is due, and when the next one is, from the first of each priority of each lane: going from one to the
    /// next reads a few rows, however many wait. Of very many that are left, a claim finds out.
    static func queue(at: Date) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH RECURSIVE places AS (
                    SELECT '' COLLATE "C" AS lane, 0 AS priority
                    UNION ALL
                    SELECT next.lane, next.priority FROM places CROSS JOIN LATERAL (
                        SELECT \(self.lane) AS lane, priority FROM cloacina_pipelines
                        WHERE \(self.waits) AND (\(self.lane), priority) > (places.lane, places.priority)
                        ORDER BY \(self.lane), priority LIMIT 1
                    ) AS next
                ), found AS (
                    SELECT lane, priority FROM places LIMIT \(StoredLimits.surveyRows)
                )
                SELECT coalesce(bool_or(first <= $1), false) OR count(*) = \(StoredLimits.surveyRows) AS is_due,
                    min(next) AS due_at
                FROM (
                    SELECT (
                        SELECT due_at FROM cloacina_pipelines
                        WHERE \(self.waits) AND \(self.lane) = found.lane AND priority = found.priority
                        ORDER BY due_at LIMIT 1) AS first, (
                        SELECT due_at FROM cloacina_pipelines
                        WHERE \(self.waits) AND \(self.lane) = found.lane AND priority = found.priority AND due_at > $1
                        ORDER BY due_at LIMIT 1) AS next
                    FROM found
                ) AS queue
                """, [.timestamp(at)], prepared: false)
    }

    /// What is due and a claim would not take: of each lane that is none of the claim's, what comes first in the index.
    static func stranded(_ claim: QueueClaim, dueBefore: Date, limit: Int) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH RECURSIVE lanes AS (
                    SELECT 0 AS format, '' COLLATE "C" AS lane
                    UNION ALL
                    SELECT next.format, next.lane FROM lanes CROSS JOIN LATERAL (
                        SELECT format, \(self.lane) AS lane FROM cloacina_pipelines
                        WHERE due_at IS NOT NULL AND (format, \(self.lane)) > (lanes.format, lanes.lane)
                        ORDER BY format, \(self.lane) LIMIT 1
                    ) AS next
                ), foreigners AS (
                    SELECT format, lane FROM lanes
                    WHERE format > \(StoredLimits.format) OR format = \(StoredLimits.format) AND lane <> ALL ($2)
                    LIMIT \(StoredLimits.foreignLanes)
                )
                SELECT q.id, q.workflow, q.version, q.format, q.created_at, q.due_at, q.has_begun
                FROM foreigners CROSS JOIN LATERAL (
                    SELECT * FROM (
                        SELECT id, workflow, version, format, created_at, due_at, priority, started_at IS NOT NULL AS has_begun
                        FROM cloacina_pipelines
                        WHERE due_at IS NOT NULL AND format = foreigners.format AND \(self.lane) = foreigners.lane
                        ORDER BY priority, due_at, id LIMIT \(StoredLimits.laneHead)
                    ) AS head
                    WHERE due_at <= $1
                ) AS q ORDER BY q.priority DESC, q.due_at, q.id LIMIT $3
                """,
            [
                .timestamp(dueBefore), .textArray(claim.lanes),
                .int64(Int64(clamping: min(max(0, limit), StoredLimits.surveyRows))),
            ], prepared: false)
    }

    /// Requeues a dead runner's pipelines and folds in what their tasks committed themselves. Rows locked by a write under way are
    /// skipped, and so is what is more than one statement should do; a later sweep finds them, since their owner is unknown then.
    static func recover(_ runner: UUID, beats: Int, by rescuer: UUID, at: Date) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH dead AS (
                    DELETE FROM cloacina_runners WHERE id = $1 AND beats = $2 RETURNING id, is_stopping
                ), silent AS (
                    SELECT id, is_stopping FROM dead
                    UNION ALL
                    SELECT $1::uuid, false WHERE $2 = 0 AND NOT EXISTS (SELECT FROM cloacina_runners WHERE id = $1)
                ), lost AS (
                    SELECT p.id, silent.is_stopping, EXISTS (
                            SELECT FROM cloacina_events AS e WHERE e.pipeline_id = p.id AND e.task IS NOT NULL
                        ) OR EXISTS (SELECT FROM cloacina_task_commits AS c WHERE c.pipeline_id = p.id) AS is_touched
                    FROM silent JOIN cloacina_pipelines AS p ON p.owner = silent.id
                    WHERE p.state = 'running' AND p.revision < \(StoredLimits.claimableCount) AND p.epoch < \(StoredLimits.claimableCount)
                    LIMIT 10000 FOR UPDATE OF p SKIP LOCKED
                ), recovered AS (
                    UPDATE cloacina_pipelines AS p SET state = 'queued', revision = p.revision + 1, epoch = p.epoch + 1,
                        owner = NULL, due_at = least($3, coalesce(p.started_at, p.created_at)),
                        started_at = CASE WHEN lost.is_touched THEN p.started_at END,
                        recoveries = least(p.recoveries + 1, \(StoredLimits.count)), request = nullif(p.request, 'resume')
                    FROM lost WHERE p.id = lost.id
                    RETURNING p.id, p.revision, lost.is_stopping
                )\(self.foldEverything(of: "SELECT id, revision FROM recovered")), happened AS (
                    INSERT INTO cloacina_events (pipeline_id, revision, position, kind, attempt, worker, at, reason, detail)
                    SELECT id, revision, (SELECT count(*) FROM commits AS c WHERE c.pipeline_id = recovered.id)::int4,
                        'pipeline recovered', 0, $4, $3, CASE WHEN is_stopping THEN $6 ELSE $7 END, $5
                    FROM recovered
                )
                SELECT count(*)::int4 AS recovered FROM recovered
                """,
            [
                .uuid(runner), .int32(Int32(truncatingIfNeeded: beats)), .timestamp(at), .uuid(rescuer),
                .text(PipelineEvent.recovery(of: runner)), .text(PipelineEvent.Reason.runnerStopped.rawValue),
                .text(PipelineEvent.Reason.runnerDied.rawValue),
            ], prepared: false)
    }

    /// The pipelines that a runner has; asked only after a claim whose answer was lost.
    static func claims(of runner: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT id, epoch FROM cloacina_pipelines WHERE owner = $1 AND state = 'running' AND revision > 1 LIMIT 100000
                """, [.uuid(runner)], prepared: false)
    }

    static func leave(_ runner: UUID) -> PostgresStatement {
        PostgresStatement(trusted: "DELETE FROM cloacina_runners WHERE id = $1", [.uuid(runner)])
    }

    /// Deletes old pipelines, the oldest first, or only a part of their lines when these are more than one statement should
    /// delete; answers how many pipelines and how many lines. Ids begin with the time of creation, so what is younger than the
    /// bound is not read.
    static func prune(endedBefore: Date, below bound: UUID, limit: Int, lines: Int) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH old AS (
                    SELECT id FROM cloacina_pipelines AS p
                    WHERE id < $3 AND ended_at < $1 AND (
                        SELECT parent.ended_at IS NULL FROM cloacina_pipelines AS parent WHERE parent.id = p.parent_id
                    ) IS NOT TRUE
                    ORDER BY id LIMIT $2 FOR UPDATE OF p SKIP LOCKED
                ), doomed AS (
                    SELECT e.pipeline_id, e.revision, e.position FROM old JOIN cloacina_events AS e ON e.pipeline_id = old.id
                    LIMIT $4
                ), lines AS (
                    DELETE FROM cloacina_events AS e USING doomed AS d
                    WHERE e.pipeline_id = d.pipeline_id AND e.revision = d.revision AND e.position = d.position
                ), commits AS (
                    DELETE FROM cloacina_task_commits AS c USING old WHERE c.pipeline_id = old.id
                ), gone AS (
                    DELETE FROM cloacina_pipelines AS p USING old
                    WHERE p.id = old.id AND (SELECT count(*) FROM doomed) < $4 RETURNING p.id
                )
                SELECT (SELECT count(*) FROM gone)::int4 AS pruned, (SELECT count(*) FROM doomed)::int4 AS lines
                """,
            [
                .timestamp(endedBefore), .int64(Int64(clamping: max(0, limit))), .uuid(bound),
                .int64(Int64(clamping: max(1, lines))),
            ], prepared: false)
    }

    // MARK: Calls

    /// The word by which the schema's runners call each other.
    static let token = PostgresStatement(trusted: "SELECT token FROM cloacina_wakeups WHERE id = 1", prepared: false)
}

extension Duration {
    /// Milliseconds, rounded up, at most what 63 bits hold.
    var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = self.components
        guard seconds < Int64.max / 1_000 - 1 else { return .max }
        guard seconds >= 0 else { return 0 }
        return max(0, seconds * 1_000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
    }
}
