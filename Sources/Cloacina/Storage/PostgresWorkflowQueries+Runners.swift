import CloacinaPostgres
import FoundationEssentials

/// Words between runners, and the end of those that died.
extension PostgresWorkflowQueries {
    static func ask(_ request: PipelineRequest, of id: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                UPDATE cloacina_pipelines SET request = $2::text
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

    /// Takes a dead runner's pipelines from it, for the transaction of ``recover(_:beats:by:takenAs:at:)``: they are that one's
    /// alone from here on, and what their tasks have committed themselves by now is visible to it. Rows locked by a write under way
    /// are skipped, and so is what is more than one statement should do; a later sweep finds them, since their owner is unknown then.
    ///
    /// - Parameter mark: A new id, which stands for the owner meanwhile.
    static func takeOver(_ runner: UUID, beats: Int, as mark: UUID, limit: Int) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH silent AS (
                    SELECT id FROM (SELECT id FROM cloacina_runners WHERE id = $1 AND beats = $2 FOR UPDATE) AS known
                    UNION ALL
                    SELECT $1::uuid WHERE $2 = 0 AND NOT EXISTS (SELECT FROM cloacina_runners WHERE id = $1)
                ), lost AS (
                    SELECT p.id FROM silent JOIN cloacina_pipelines AS p ON p.owner = silent.id
                    WHERE p.state = 'running' AND p.revision < \(StoredLimits.claimableCount) AND p.epoch < \(StoredLimits.claimableCount)
                    LIMIT $4 FOR UPDATE OF p SKIP LOCKED
                )
                UPDATE cloacina_pipelines AS p SET owner = $3 FROM lost WHERE p.id = lost.id
                """,
            [
                .uuid(runner), .int32(Int32(truncatingIfNeeded: beats)), .uuid(mark),
                .int64(Int64(clamping: max(1, limit))),
            ], prepared: false)
    }

    /// Requeues a dead runner's pipelines that were taken from it, and folds in what their tasks committed themselves. A line that
    /// somebody wrote in the place of a new one stays, and holds up no other pipeline.
    ///
    /// - Parameter wasStopping: What an earlier part of the same recovery found, which has taken the runner off the list.
    static func recover(
        _ runner: UUID, beats: Int, wasStopping: Bool, by rescuer: UUID, takenAs mark: UUID, at: Date
    ) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH dead AS (
                    DELETE FROM cloacina_runners WHERE id = $1 AND beats = $2 RETURNING is_stopping
                ), lost AS (
                    SELECT p.id, EXISTS (
                            SELECT FROM cloacina_events AS e WHERE e.pipeline_id = p.id AND e.task IS NOT NULL
                        ) OR EXISTS (SELECT FROM cloacina_task_commits AS c WHERE c.pipeline_id = p.id) AS is_touched
                    FROM cloacina_pipelines AS p WHERE p.owner = $8 AND p.state = 'running'
                ), recovered AS (
                    UPDATE cloacina_pipelines AS p SET state = 'queued', revision = p.revision + 1, epoch = p.epoch + 1,
                        owner = NULL, due_at = least(\(self.dueNow("$3")), coalesce(p.started_at, p.created_at)),
                        started_at = CASE WHEN lost.is_touched THEN p.started_at END,
                        recoveries = least(p.recoveries + 1, \(StoredLimits.count)), request = nullif(p.request, 'resume')
                    FROM lost WHERE p.id = lost.id
                    RETURNING p.id, p.revision
                )\(self.foldEverything(of: "SELECT id, revision FROM recovered")), happened AS (
                    INSERT INTO cloacina_events (pipeline_id, revision, position, kind, attempt, worker, at, reason, detail)
                    SELECT id, revision, (SELECT count(*) FROM commits AS c WHERE c.pipeline_id = recovered.id)::int4,
                        'pipeline recovered', 0, $4, $3,
                        CASE WHEN coalesce((SELECT is_stopping FROM dead), $9) THEN $6 ELSE $7 END, $5
                    FROM recovered ON CONFLICT DO NOTHING
                )
                SELECT count(*)::int4 AS recovered, coalesce((SELECT is_stopping FROM dead), $9) AS was_stopping FROM recovered
                """,
            [
                .uuid(runner), .int32(Int32(truncatingIfNeeded: beats)), .timestamp(at), .uuid(rescuer),
                .text(PipelineEvent.recovery(of: runner)), .text(PipelineEvent.Reason.runnerStopped.rawValue),
                .text(PipelineEvent.Reason.runnerDied.rawValue), .uuid(mark), .bool(wasStopping),
            ], prepared: false)
    }

    /// The pipelines that a runner has; asked after a claim whose answer was lost, and now and then.
    static func claims(of runner: UUID, includingCreated: Bool = false) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT id, epoch FROM cloacina_pipelines
                WHERE owner = $1 AND state = 'running' \(includingCreated ? "" : "AND revision > 1") LIMIT 100000
                """, [.uuid(runner)], prepared: false)
    }

    static func leave(_ runner: UUID) -> PostgresStatement {
        PostgresStatement(trusted: "DELETE FROM cloacina_runners WHERE id = $1", [.uuid(runner)])
    }

    /// The word by which the schema's runners call each other.
    static let token = PostgresStatement(trusted: "SELECT token FROM cloacina_wakeups WHERE id = 1", prepared: false)
}
