import CloacinaPostgres
import FoundationEssentials

/// The statements of ``PostgresWorkflowStore``. The tables' names carry no schema: the lease's label decides whose they are.
///
/// What is kept prepared reaches its rows by the whole primary key with bound values, so that the plan made while a new
/// tenant's tables are empty is the plan for full ones. What joins or searches is planned each time it runs. Times are bound
/// and there is no volatile function, so all of it also runs where the schema is distributed (Citus).
enum PostgresWorkflowQueries {
    /// Stores pipelines and the first line of each one's history; answers the ids of those that were not there.
    static func create(_ pipelines: [NewPipeline]) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH pipeline AS (
                    INSERT INTO cloacina_pipelines (id, workflow, version, state, revision, epoch, recoveries, priority, owner,
                        due_at, created_at, started_at, timeout_ms, idempotency_key, input)
                    SELECT n.id, n.workflow, n.version, CASE WHEN n.owner IS NULL THEN 'queued' ELSE 'running' END, 1,
                        CASE WHEN n.owner IS NULL THEN 0 ELSE 1 END, 0, n.priority, n.owner, n.due_at, n.created_at,
                        CASE WHEN n.owner IS NOT NULL THEN n.created_at END, nullif(n.timeout_ms, -1),
                        n.idempotency_key, n.input
                    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int4[], $5::uuid[], $6::timestamptz[],
                            $7::timestamptz[], $8::int8[], $9::text[], $10::text[])
                        AS n (id, workflow, version, priority, owner, due_at, created_at, timeout_ms, idempotency_key, input)
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
                .textArray(pipelines.map(\.input.jsonText)),
            ])
    }

    /// Which pipeline has an idempotency key.
    static func find(key: String) -> PostgresStatement {
        PostgresStatement(trusted: "SELECT id FROM cloacina_pipelines WHERE idempotency_key = $1", [.text(key)])
    }

    /// Which pipelines have these idempotency keys, and which of these ids there are.
    static func find(keys: [String], ids: [UUID]) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT id, idempotency_key FROM cloacina_pipelines WHERE idempotency_key = ANY ($1)
                UNION ALL SELECT id, NULL FROM cloacina_pipelines WHERE id = ANY ($2)
                """, [.textArray(keys), .uuidArray(ids)], prepared: false)
    }

    // MARK: Transitions

    private static let eventColumns = """
        pipeline_id, revision, position, kind, task, attempt, worker, started_at, at, due_at, detail, delta
        """

    /// One transition: the statement of a healthy pipeline. It answers a row unless the revision or the epoch has changed,
    /// and then nothing is stored.
    static func apply(_ change: PipelineChange) -> PostgresStatement {
        let transition = change.transition
        let events = transition.events
        return PostgresStatement(
            trusted: """
                WITH guard AS (
                    UPDATE cloacina_pipelines SET revision = $2 + 1, state = $4, due_at = $5, ended_at = $6,
                        owner = CASE $4 WHEN 'running' THEN owner END,
                        request = CASE WHEN $4 = 'running' OR $4 = 'queued' AND request <> 'resume'
                            OR $4 = 'paused' AND request <> 'pause' THEN request END
                    WHERE id = $1 AND revision = $2 AND epoch = $3
                    RETURNING request
                ), happened AS (
                    INSERT INTO cloacina_events (\(eventColumns))
                    SELECT $1, $2 + 1, e.position, e.kind, e.task, e.attempt, e.worker, e.started_at, e.at, e.due_at,
                        e.detail, e.delta
                    FROM guard, unnest($7::text[], $8::text[], $9::int4[], $10::uuid[], $11::timestamptz[],
                            $12::timestamptz[], $13::timestamptz[], $14::text[], $15::text[]) WITH ORDINALITY
                        AS e (kind, task, attempt, worker, started_at, at, due_at, detail, delta, position)
                )
                SELECT request FROM guard
                """,
            [
                .uuid(change.id), .int32(Int32(transition.expectedRevision)), .int32(Int32(change.epoch)),
                .text(transition.status.rawValue), transition.dueAt.map { .timestamp($0) } ?? .null,
                transition.status.isTerminal ? .timestamp(change.at) : .null,
            ] + self.binds(of: events))
    }

    /// Transitions of several pipelines at once; answers the ids of those that are stored.
    static func apply(_ changes: [PipelineChange]) -> PostgresStatement {
        let events = changes.flatMap(\.transition.events)
        return PostgresStatement(
            trusted: """
                WITH guard AS (
                    UPDATE cloacina_pipelines AS p SET revision = c.revision + 1, state = c.state, due_at = c.due_at,
                        ended_at = c.ended_at, owner = CASE c.state WHEN 'running' THEN p.owner END,
                        request = CASE WHEN c.state = 'running' OR c.state = 'queued' AND p.request <> 'resume'
                            OR c.state = 'paused' AND p.request <> 'pause'
                            THEN p.request END
                    FROM unnest($1::uuid[], $2::int4[], $3::int4[], $4::text[], $5::timestamptz[], $6::timestamptz[])
                        AS c (id, revision, epoch, state, due_at, ended_at)
                    WHERE p.id = c.id AND p.revision = c.revision AND p.epoch = c.epoch
                    RETURNING p.id, p.revision, p.request
                ), happened AS (
                    INSERT INTO cloacina_events (\(eventColumns))
                    SELECT g.id, g.revision, e.position, e.kind, e.task, e.attempt, e.worker, e.started_at, e.at, e.due_at,
                        e.detail, e.delta
                    FROM unnest($7::text[], $8::text[], $9::int4[], $10::uuid[], $11::timestamptz[], $12::timestamptz[],
                            $13::timestamptz[], $14::text[], $15::text[], $16::uuid[], $17::int4[])
                        AS e (kind, task, attempt, worker, started_at, at, due_at, detail, delta, pipeline_id, position)
                        JOIN guard AS g ON g.id = e.pipeline_id
                )
                SELECT id, request FROM guard
                """,
            [
                .uuidArray(changes.map(\.id)), .int32Array(changes.map { Int32($0.transition.expectedRevision) }),
                .int32Array(changes.map { Int32($0.epoch) }),
                .textArray(changes.map(\.transition.status.rawValue)),
                .optionalTimestampArray(changes.map(\.transition.dueAt)),
                .optionalTimestampArray(changes.map { $0.transition.status.isTerminal ? $0.at : nil }),
            ] + self.binds(of: events) + [
                .uuidArray(changes.flatMap { change in change.transition.events.map { _ in change.id } }),
                .int32Array(changes.flatMap { $0.transition.events.indices.map { Int32($0 + 1) } }),
            ], prepared: false)
    }

    /// The revision under which completions stand that were committed with a task's own writes; each task has one place.
    static let ownCommits = 1_000_000_000

    /// A completion inside a task's own transaction, if the claim still holds; a row says that it is written. The lock keeps
    /// anyone from taking the pipeline over before the commit.
    static func commit(_ event: PipelineEvent, at place: TaskPlace) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH claim AS (
                    SELECT id FROM cloacina_pipelines WHERE id = $1 AND epoch = $2 AND state = 'running' FOR SHARE
                )
                INSERT INTO cloacina_events (pipeline_id, revision, position, kind, task, attempt, worker, started_at, at, delta)
                SELECT id, $3, $4, $5, $6, $7, $8, $9, $10, $11 FROM claim
                ON CONFLICT DO NOTHING
                RETURNING position
                """,
            [
                .uuid(place.pipeline), .int32(Int32(place.epoch)), .int32(Int32(self.ownCommits)),
                .int32(Int32(place.position)), .text(event.kind.rawValue), event.task.map { .text($0) } ?? .null,
                .int32(Int32(event.attempt)), event.worker.map { .uuid($0) } ?? .null,
                event.startedAt.map { .timestamp($0) } ?? .null, .timestamp(event.at),
                event.delta.flatMap { $0.isEmpty ? nil : .text($0.jsonText) } ?? .null,
            ])
    }

    /// Waits until nobody is committing a completion of the pipeline's.
    static func lock(_ place: TaskPlace) -> PostgresStatement {
        PostgresStatement(
            trusted: "SELECT id FROM cloacina_pipelines WHERE id = $1 FOR UPDATE", [.uuid(place.pipeline)])
    }

    /// Finds the completion that an attempt committed itself.
    static func ownCommit(at place: TaskPlace, attempt: Int) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT position FROM cloacina_events
                WHERE pipeline_id = $1 AND revision = $2 AND position = $3 AND attempt = $4
                """,
            [
                .uuid(place.pipeline), .int32(Int32(self.ownCommits)), .int32(Int32(place.position)),
                .int32(Int32(attempt)),
            ])
    }

    private static func binds(of events: [PipelineEvent]) -> [PostgresValue] {
        [
            .textArray(events.map(\.kind.rawValue)), .optionalTextArray(events.map(\.task)),
            .int32Array(events.map { Int32($0.attempt) }), .optionalUUIDArray(events.map(\.worker)),
            .optionalTimestampArray(events.map(\.startedAt)), .timestampArray(events.map(\.at)),
            .optionalTimestampArray(events.map(\.dueAt)), .optionalTextArray(events.map(\.detail)),
            .optionalTextArray(events.map { $0.delta.flatMap { $0.isEmpty ? nil : $0.jsonText } }),
        ]
    }

    // MARK: Reading

    static let pipelineColumns = """
        id, workflow, version, state, revision, epoch, recoveries, priority, owner, due_at, created_at, started_at, ended_at,
        timeout_ms, request, idempotency_key, input
        """

    static func load(_ id: UUID) -> PostgresStatement {
        PostgresStatement(trusted: "SELECT \(self.pipelineColumns) FROM cloacina_pipelines WHERE id = $1", [.uuid(id)])
    }

    static func status(of id: UUID) -> PostgresStatement {
        PostgresStatement(trusted: "SELECT state FROM cloacina_pipelines WHERE id = $1", [.uuid(id)])
    }

    static func history(_ id: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT \(self.eventColumns) FROM cloacina_events WHERE pipeline_id = $1 ORDER BY revision, position
                """, [.uuid(id)])
    }

    static func histories(_ ids: [UUID]) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT \(self.eventColumns) FROM cloacina_events WHERE pipeline_id = ANY ($1)
                ORDER BY pipeline_id, revision, position
                """, [.uuidArray(ids)], prepared: false)
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
                query.after.map { .uuid($0) } ?? .null, .int64(Int64(max(0, query.limit))),
            ], prepared: false)
    }

    /// Walks the primary key backwards.
    static func events(_ query: EventQuery) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT \(self.eventColumns) FROM cloacina_events
                WHERE ($1::text[] IS NULL OR kind = ANY ($1)) AND ($2::text IS NULL OR task = $2)
                    AND ($3::uuid IS NULL OR pipeline_id = $3)
                    AND ($4::uuid IS NULL OR (pipeline_id, revision, position) < ($4, $5::int4, $6::int4))
                ORDER BY pipeline_id DESC, revision DESC, position DESC LIMIT $7
                """,
            [
                query.kinds.isEmpty ? .null : .textArray(query.kinds.map(\.rawValue).sorted()),
                query.task.map { .text($0) } ?? .null, query.pipeline.map { .uuid($0) } ?? .null,
                query.after.map { .uuid($0.pipeline) } ?? .null,
                query.after.map { .int32(Int32(clamping: $0.revision)) } ?? .null,
                query.after.map { .int32(Int32(clamping: $0.position)) } ?? .null,
                .int64(Int64(max(0, query.limit))),
            ], prepared: false)
    }

    // MARK: The queue

    /// Makes a creation give up, for this transaction, when somebody else's holds its idempotency key and doesn't end.
    static let impatiently = PostgresStatement(
        trusted: "SELECT pg_catalog.set_config('lock_timeout', '100ms', true)")

    /// Keeps the server from reading every pipeline to find those that wait, for this transaction. What it knows of the table
    /// is old as long as a backlog grows or drains, and the index is in the right order.
    static let inQueueOrder = PostgresStatement(
        trusted: """
            SELECT pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('enable_bitmapscan', 'off', true),
                pg_catalog.set_config('jit', 'off', true)
            """)

    /// The priorities of what waits, the highest first, and a NULL. The queue's index is by priority: going from one to the next
    /// reads a few rows, however many wait for their time.
    private static let levels = """
        levels AS (
            (SELECT priority FROM cloacina_pipelines WHERE due_at IS NOT NULL ORDER BY priority DESC LIMIT 1)
            UNION ALL
            SELECT (
                SELECT p.priority FROM cloacina_pipelines AS p
                WHERE p.due_at IS NOT NULL AND p.priority < levels.priority ORDER BY p.priority DESC LIMIT 1)
            FROM levels WHERE levels.priority IS NOT NULL
        )
        """

    /// Claims what waits, in one statement with the line of history that says so; after a position, only what comes after it
    /// with the same priority.
    ///
    /// A level's rows come in the index's order up to the time; what is due later is not read. Rows are locked as they come, so
    /// no more than are claimed.
    static func claim(_ claim: QueueClaim, after position: QueueCursor.Position? = nil) -> PostgresStatement {
        let workflows = claim.workflows.sorted { $0.key < $1.key }
        let ofLevel = """
            SELECT id, due_at FROM cloacina_pipelines
            WHERE priority = \(position == nil ? "levels.priority" : "$6 AND (due_at, id) > ($7, $8)")
                AND due_at <= $1 AND workflow = ANY ($3)
                AND (started_at IS NULL OR version = ($4::text[])[array_position($3::text[], workflow)])
            ORDER BY due_at, id LIMIT $2
            FOR UPDATE SKIP LOCKED
            """
        let ofEveryLevel = """
            SELECT first.id, first.due_at FROM levels CROSS JOIN LATERAL (\(ofLevel)) AS first LIMIT $2
            """
        return PostgresStatement(
            trusted: """
                WITH RECURSIVE \(self.levels), due AS (
                    \(position == nil ? ofEveryLevel : ofLevel)
                ), claimed AS (
                    UPDATE cloacina_pipelines AS p SET state = 'running', revision = p.revision + 1, epoch = p.epoch + 1,
                        owner = $5, due_at = NULL,
                        version = CASE WHEN p.started_at IS NULL
                            THEN ($4::text[])[array_position($3::text[], p.workflow)] ELSE p.version END,
                        started_at = CASE WHEN p.started_at IS NULL THEN $1 ELSE p.started_at END
                    FROM due WHERE p.id = due.id
                    RETURNING p.id, p.workflow, p.version, p.state, p.revision, p.epoch, p.recoveries, p.priority, p.owner,
                        p.due_at, p.created_at, p.started_at, p.ended_at, p.timeout_ms, p.request, p.idempotency_key,
                        p.input, due.due_at AS queued_at
                ), happened AS (
                    INSERT INTO cloacina_events (pipeline_id, revision, position, kind, attempt, worker, at)
                    SELECT id, revision, 0, 'pipeline started', 0, $5, $1 FROM claimed
                )
                SELECT \(self.pipelineColumns), queued_at FROM claimed ORDER BY priority DESC, queued_at, id
                """,
            [
                .timestamp(claim.at), .int64(Int64(max(0, claim.limit))), .textArray(workflows.map(\.key)),
                .textArray(workflows.map(\.value)), .uuid(claim.runner),
            ] + (position.map { [.int32(Int32(clamping: $0.priority)), .timestamp($0.dueAt), .uuid($0.id)] } ?? []),
            prepared: false)
    }

    // MARK: Runners

    static func ask(_ request: PipelineRequest, of id: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                UPDATE cloacina_pipelines SET request = $2
                WHERE id = $1 AND state = 'running' AND request IS DISTINCT FROM 'cancel'
                """,
            [.uuid(id), .text(request.rawValue)])
    }

    static func beat(_ runner: UUID, number: Int, at: Date) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                INSERT INTO cloacina_runners (id, beats, seen_at) VALUES ($1, $2, $3)
                ON CONFLICT (id) DO UPDATE SET beats = $2, seen_at = $3
                """, [.uuid(runner), .int32(Int32(truncatingIfNeeded: number)), .timestamp(at)])
    }

    static func requests(of runner: UUID, _ pipelines: [UUID]) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT id, request FROM cloacina_pipelines WHERE id = ANY ($2) AND owner = $1
                """, [.uuid(runner), .uuidArray(pipelines)], prepared: false)
    }

    /// The runners with their beats, and a row without an id whose number is the highest priority of what waits: NULL when
    /// nothing does. It is all that is asked of a tenant that has nothing to do, and kept short for that. With `everyOwner`,
    /// also the owners of running pipelines that never said anything, and the pipelines that stand still with what was asked of
    /// them; that reads all pipelines.
    ///
    /// The order is the queue's index's, so that no statistics make the server read what doesn't wait.
    static func runners(everyOwner: Bool) -> PostgresStatement {
        let known = """
            SELECT id, beats AS number, NULL AS request FROM cloacina_runners
            UNION ALL
            SELECT NULL, (SELECT priority FROM cloacina_pipelines WHERE due_at IS NOT NULL ORDER BY priority DESC LIMIT 1),
                NULL
            """
        guard everyOwner else { return PostgresStatement(trusted: known, prepared: false) }
        return PostgresStatement(
            trusted: """
                \(known)
                UNION ALL
                SELECT DISTINCT owner, 0, NULL FROM cloacina_pipelines AS p
                WHERE state = 'running' AND NOT EXISTS (SELECT FROM cloacina_runners AS r WHERE r.id = p.owner)
                UNION ALL
                SELECT id, 0, request FROM cloacina_pipelines WHERE state = 'paused' AND request IS NOT NULL
                """, prepared: false)
    }

    /// Whether a pipeline is due, and when the next one is, from the first of each priority.
    static func queue(at: Date) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH RECURSIVE \(self.levels)
                SELECT coalesce(bool_or(first <= $1), false) AS is_due, min(next) AS due_at FROM (
                    SELECT (
                        SELECT p.due_at FROM cloacina_pipelines AS p
                        WHERE p.priority = levels.priority AND p.due_at IS NOT NULL ORDER BY p.due_at LIMIT 1) AS first, (
                        SELECT p.due_at FROM cloacina_pipelines AS p
                        WHERE p.priority = levels.priority AND p.due_at > $1 ORDER BY p.due_at LIMIT 1) AS next
                    FROM levels
                ) AS queue
                """, [.timestamp(at)], prepared: false)
    }

    /// What somebody is storing something in at the moment is left to a later look: its owner is unknown from now on.
    static func recover(_ runner: UUID, beats: Int, by rescuer: UUID, at: Date) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH dead AS (
                    DELETE FROM cloacina_runners WHERE id = $1 AND beats = $2 RETURNING id
                ), silent AS (
                    SELECT id FROM dead
                    UNION ALL
                    SELECT $1::uuid WHERE $2 = 0 AND NOT EXISTS (SELECT FROM cloacina_runners WHERE id = $1)
                ), lost AS (
                    SELECT p.id FROM silent JOIN cloacina_pipelines AS p ON p.owner = silent.id
                    WHERE p.state = 'running' FOR UPDATE OF p SKIP LOCKED
                ), recovered AS (
                    UPDATE cloacina_pipelines AS p SET state = 'queued', revision = p.revision + 1, epoch = p.epoch + 1,
                        owner = NULL, due_at = least($3, coalesce(p.started_at, p.created_at)),
                        recoveries = p.recoveries + 1, request = nullif(p.request, 'resume')
                    FROM lost WHERE p.id = lost.id
                    RETURNING p.id, p.revision
                ), happened AS (
                    INSERT INTO cloacina_events (pipeline_id, revision, position, kind, attempt, worker, at, detail)
                    SELECT id, revision, 0, 'pipeline recovered', 0, $4, $3, $5 FROM recovered
                )
                SELECT count(*)::int4 AS recovered FROM recovered
                """,
            [
                .uuid(runner), .int32(Int32(beats)), .timestamp(at), .uuid(rescuer),
                .text(PipelineEvent.recovery(of: runner)),
            ], prepared: false)
    }

    /// Reads all pipelines; asked only after a claim whose answer was lost.
    static func claims(of runner: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: "SELECT id, epoch FROM cloacina_pipelines WHERE owner = $1 AND state = 'running' AND revision > 1",
            [.uuid(runner)], prepared: false)
    }

    static func leave(_ runner: UUID) -> PostgresStatement {
        PostgresStatement(trusted: "DELETE FROM cloacina_runners WHERE id = $1", [.uuid(runner)])
    }

    /// The oldest first. Ids begin with the time of creation, so what is younger than the bound is not read.
    static func prune(endedBefore: Date, below bound: UUID, limit: Int) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH old AS (
                    SELECT id FROM cloacina_pipelines AS p
                    WHERE id < $3 AND ended_at < $1 AND (
                        SELECT parent.ended_at IS NULL FROM cloacina_pipelines AS parent
                        WHERE parent.id = CASE WHEN p.idempotency_key ~ $4 THEN left(p.idempotency_key, 36)::uuid END
                    ) IS NOT TRUE
                    ORDER BY id LIMIT $2 FOR UPDATE OF p SKIP LOCKED
                ), events AS (
                    DELETE FROM cloacina_events USING old WHERE pipeline_id = old.id
                ), gone AS (
                    DELETE FROM cloacina_pipelines AS p USING old WHERE p.id = old.id RETURNING p.id
                )
                SELECT count(*)::int4 AS pruned FROM gone
                """,
            [
                .timestamp(endedBefore), .int64(Int64(max(0, limit))), .uuid(bound), .text(ChildKey.pattern),
            ], prepared: false)
    }
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
