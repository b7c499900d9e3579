import CloacinaPostgres
import FoundationEssentials

/// The statements of ``PostgresWorkflowStore``. The tables' names carry no schema: the lease's label decides whose they are.
///
/// Each reaches its rows by the whole primary key with bound values, so that the plan made while a new tenant's tables are
/// empty is the plan for full ones. Times are bound, there is no volatile function, and so they also run where the schema is
/// distributed (Citus).
enum PostgresWorkflowQueries {
    /// Stores a pipeline, its tasks and the first event in one statement; `created` is 0 when the id exists.
    static func create(_ pipeline: NewPipeline) -> PostgresStatement {
        let claimed = Dictionary(uniqueKeysWithValues: pipeline.first.claimed.map { ($0.task, $0) })
        let queued = Set(pipeline.first.queued)
        let claims = pipeline.tasks.map { claimed[$0] }
        return PostgresStatement(
            trusted: """
                WITH pipeline AS (
                    INSERT INTO cloacina_pipelines (id, workflow, state, revision, input, started_at)
                    VALUES ($1, $2, 'running', 1, $3, $4)
                    ON CONFLICT (id) DO NOTHING
                    RETURNING id
                ), tasks AS (
                    INSERT INTO cloacina_tasks
                        (pipeline_id, task, state, epoch, attempt, owner, started_at, queued_at)
                    SELECT $1, t.task, t.state, t.epoch, t.attempt,
                        CASE t.state WHEN 'running' THEN $5::uuid END,
                        CASE t.state WHEN 'running' THEN $4::timestamptz END,
                        CASE t.state WHEN 'ready' THEN $4::timestamptz END
                    FROM pipeline, unnest($6::text[], $7::text[], $8::int4[], $9::int4[])
                        AS t (task, state, epoch, attempt)
                ), happened AS (
                    INSERT INTO cloacina_events (pipeline_id, revision, position, kind, attempt, at)
                    SELECT id, 1, 0, 'pipeline started', 0, $4 FROM pipeline
                )
                SELECT count(*)::int4 AS created FROM pipeline
                """,
            [
                .uuid(pipeline.id), .text(pipeline.workflow), .text(pipeline.input.jsonText), .timestamp(pipeline.at),
                .uuid(pipeline.owner), .textArray(pipeline.tasks),
                .textArray(
                    zip(pipeline.tasks, claims).map { task, claim in
                        claim != nil ? "running" : queued.contains(task) ? "ready" : "waiting"
                    }),
                .int32Array(claims.map { Int32($0?.epoch ?? 0) }),
                .int32Array(claims.map { Int32($0?.attempt ?? 0) }),
            ])
    }

    /// Ends tasks and claims the next ones: the statement of a healthy pipeline. `applied` is 0 when a revision or a claim
    /// has changed, and then nothing has been stored.
    ///
    /// All compare-and-sets are in `guard`. When another session holds the pipeline's row, PostgreSQL waits for it and reads
    /// the revision again; as every change of a task changes the revision too, what `guard` has seen of the tasks is still
    /// true when the revision is.
    private static let advance = """
        WITH guard AS (
            UPDATE cloacina_pipelines SET revision = $2 + 1, state = $3, ended_at = $4
            WHERE id = $1 AND revision = $2 AND state = 'running'
                AND cardinality($7::text[]) = (
                    SELECT count(*) FROM cloacina_tasks AS t
                    JOIN unnest($7::text[], $8::int4[]) AS e (task, epoch) ON e.task = t.task AND e.epoch = t.epoch
                    WHERE t.pipeline_id = $1 AND t.task = ANY ($7::text[]) AND t.state = 'running' AND t.owner = $5
                )
            RETURNING id
        ), ended AS (
            UPDATE cloacina_tasks AS t
            SET state = e.state, ended_at = e.ended_at, reason = e.reason, delta = e.delta
            FROM guard, unnest($7::text[], $9::text[], $10::timestamptz[], $11::text[], $12::text[])
                AS e (task, state, ended_at, reason, delta)
            WHERE t.pipeline_id = $1 AND t.task = ANY ($7::text[]) AND t.task = e.task
        ), claimed AS (
            UPDATE cloacina_tasks AS t
            SET state = 'running', epoch = t.epoch + 1, attempt = t.attempt + 1, owner = $5, started_at = $6,
                queued_at = NULL
            FROM guard
            WHERE t.pipeline_id = $1 AND t.task = ANY ($13::text[]) AND t.state IN ('waiting', 'ready')
        ), happened AS (
            INSERT INTO cloacina_events (pipeline_id, revision, position, kind, task, attempt, at, detail)
            SELECT $1, $2 + 1, e.position - 1, e.kind, e.task, e.attempt, e.at, e.detail
            FROM guard, unnest($14::text[], $15::text[], $16::int4[], $17::timestamptz[], $18::text[])
                WITH ORDINALITY AS e (kind, task, attempt, at, detail, position)
        )
        """

    /// The same, and the tasks that are queued or skipped.
    private static let advanceWithQueue = """
        \(advance), queued AS (
            UPDATE cloacina_tasks AS t SET state = 'ready', queued_at = $6
            FROM guard
            WHERE t.pipeline_id = $1 AND t.task = ANY ($19::text[]) AND t.state = 'waiting'
        ), skipped AS (
            UPDATE cloacina_tasks AS t SET state = 'skipped', ended_at = $6, reason = $21, queued_at = NULL
            FROM guard
            WHERE t.pipeline_id = $1 AND t.task = ANY ($20::text[]) AND t.state IN ('waiting', 'ready')
        )
        SELECT count(*)::int4 AS applied FROM guard
        """

    private static let advanceAlone = "\(advance)\nSELECT count(*)::int4 AS applied FROM guard"

    static func apply(_ change: PipelineChange) -> PostgresStatement {
        let transition = change.transition
        let ended = transition.ended
        let events = PipelineEvent.events(of: transition, at: change.at)
        let binds: [PostgresValue] = [
            .uuid(change.id), .int32(Int32(transition.expectedRevision)), .text(transition.status.rawValue),
            transition.status.isTerminal ? .timestamp(change.at) : .null, .uuid(change.owner), .timestamp(change.at),
            .textArray(ended.map(\.task)), .int32Array(ended.map { Int32($0.epoch) }),
            .textArray(ended.map(\.outcome.state)), .timestampArray(ended.map(\.at)),
            .optionalTextArray(ended.map(\.outcome.reason)), .optionalTextArray(ended.map(\.outcome.delta)),
            .textArray(transition.claimed.map(\.task)),
            .textArray(events.map(\.kind)), .optionalTextArray(events.map(\.task)),
            .int32Array(events.map { Int32($0.attempt) }), .timestampArray(events.map(\.at)),
            .optionalTextArray(events.map(\.detail)),
        ]
        guard !transition.queued.isEmpty || !transition.skipped.isEmpty else {
            return PostgresStatement(trusted: self.advanceAlone, binds)
        }
        let reason = transition.skipReason.map { PostgresValue.text($0.text) } ?? .null
        return PostgresStatement(
            trusted: self.advanceWithQueue,
            binds + [.textArray(transition.queued), .textArray(transition.skipped), reason])
    }

    /// What never changes of a pipeline.
    static func loadInput(_ id: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: "SELECT workflow, input, started_at FROM cloacina_pipelines WHERE id = $1", [.uuid(id)])
    }

    /// Everything else, in one statement and so of one moment.
    static func loadTasks(_ id: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT p.state AS pipeline_state, p.revision, p.ended_at AS pipeline_ended_at, t.task, t.state, t.epoch,
                    t.attempt, t.owner, t.started_at, t.ended_at, t.reason, t.delta
                FROM cloacina_pipelines AS p JOIN cloacina_tasks AS t ON t.pipeline_id = p.id
                WHERE p.id = $1 AND t.pipeline_id = $1
                """, [.uuid(id)])
    }
}

extension TaskOutcome {
    fileprivate var state: String {
        switch self {
        case .completed: TaskStatus.completed.rawValue
        case .failed: TaskStatus.failed.rawValue
        }
    }

    fileprivate var reason: String? {
        switch self {
        case .completed: nil
        case .failed(let error): error
        }
    }

    fileprivate var delta: String? {
        switch self {
        case .completed(let delta): delta.isEmpty ? nil : delta.jsonText
        case .failed: nil
        }
    }
}
