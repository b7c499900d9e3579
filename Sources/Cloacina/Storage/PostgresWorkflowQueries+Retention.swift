import CloacinaPostgres
import FoundationEssentials

/// The deletion of what is old.
extension PostgresWorkflowQueries {
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
}
