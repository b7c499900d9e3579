import CloacinaPostgres
import FoundationEssentials

/// Pipelines and their histories.
extension PostgresWorkflowQueries {
    static let pipelineColumns = """
        id, workflow, version, state, revision, epoch, recoveries, priority, owner, due_at, created_at, started_at, ended_at,
        timeout_ms, request, idempotency_key, parent_id, depth, input
        """

    static func load(_ id: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: "SELECT \(self.pipelineColumns), output, outcomes FROM cloacina_pipelines WHERE id = $1",
            [.uuid(id)])
    }

    /// A pipeline without what it handed back, which may be large.
    static func row(of id: UUID) -> PostgresStatement {
        PostgresStatement(trusted: "SELECT \(self.pipelineColumns) FROM cloacina_pipelines WHERE id = $1", [.uuid(id)])
    }

    static func standing(of id: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: "SELECT state, revision, epoch, owner FROM cloacina_pipelines WHERE id = $1", [.uuid(id)])
    }

    static func status(of id: UUID) -> PostgresStatement {
        PostgresStatement(trusted: "SELECT state FROM cloacina_pipelines WHERE id = $1", [.uuid(id)])
    }

    /// The bytes that the lines of a history take up, own commits that stand apart among them, in a subquery; counted without
    /// reading the values. More than are read where there are more lines than are counted.
    static func historyBytes(of pipeline: String) -> String {
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

    /// A page of the children of a pipeline that have not ended, in the order of the index.
    static func children(of id: UUID, after last: UUID?) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT id FROM cloacina_pipelines
                WHERE parent_id = $1 AND ended_at IS NULL \(last == nil ? "" : "AND id > $2")
                ORDER BY parent_id, id LIMIT \(StoredLimits.surveyRows)
                """, [.uuid(id)] + (last.map { [.uuid($0)] } ?? []), prepared: false)
    }
}
