import CloacinaPostgres
import FoundationEssentials

/// The looks at what goes on in a queue.
extension PostgresWorkflowQueries {
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

    /// Finds if a pipeline is due, and when the next one is, by the clock of who asks, from the first of each priority of each lane:
    /// going from one to the next reads a few rows, however many wait. Of very many that are left, a claim finds out.
    static func queue(at: Date, byServersClock: Bool = false) -> PostgresStatement {
        let now = self.now("$1", byServersClock)
        return PostgresStatement(
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
                SELECT coalesce(bool_or(first <= \(now)), false) OR count(*) = \(StoredLimits.surveyRows) AS is_due,
                    \(self.byHostsClock("min(next)", asOf: "$1::timestamptz", byServersClock)) AS due_at
                FROM (
                    SELECT (
                        SELECT due_at FROM cloacina_pipelines
                        WHERE \(self.waits) AND \(self.lane) = found.lane AND priority = found.priority
                        ORDER BY due_at LIMIT 1) AS first, (
                        SELECT due_at FROM cloacina_pipelines
                        WHERE \(self.waits) AND \(self.lane) = found.lane AND priority = found.priority AND due_at > \(now)
                        ORDER BY due_at LIMIT 1) AS next
                    FROM found
                ) AS queue
                """, [.timestamp(at)], prepared: false)
    }

    /// All lanes that something waits in, of whatever format.
    private static let allLanes = """
        lanes AS (
            SELECT 0 AS format, '' COLLATE "C" AS lane
            UNION ALL
            SELECT next.format, next.lane FROM lanes CROSS JOIN LATERAL (
                SELECT format, \(lane) AS lane FROM cloacina_pipelines
                WHERE due_at IS NOT NULL AND (format, \(lane)) > (lanes.format, lanes.lane)
                ORDER BY format, \(lane) LIMIT 1
            ) AS next
        )
        """

    /// The pipelines that have waited for longer than a number of seconds, by the server's clock, in groups of one workflow and one version.
    static func waiting(longerThan seconds: Int, workflow: String?, limit: Int) -> PostgresStatement {
        let bound = "statement_timestamp() - $1 * interval '1 second'"
        return PostgresStatement(
            trusted: """
                WITH RECURSIVE \(self.allLanes)
                SELECT * FROM (
                    SELECT lanes.format, found.* FROM lanes CROSS JOIN LATERAL (
                        SELECT workflow, version, count(*)::int8 AS number, min(since) AS since,
                            (array_agg(id ORDER BY since, id))[1] AS longest
                        FROM (
                            SELECT id, workflow, CASE WHEN started_at IS NOT NULL THEN version END AS version, greatest(due_at, (
                                    SELECT at FROM cloacina_events AS e WHERE e.pipeline_id = p.id
                                    ORDER BY revision DESC, position DESC LIMIT 1)) AS since
                            FROM cloacina_pipelines AS p
                            WHERE due_at <= \(bound) AND format = lanes.format AND \(self.lane) = lanes.lane
                                AND ($2::text IS NULL OR workflow = $2)
                            ORDER BY priority, due_at, id LIMIT \(WaitingGroup.limit + 1)
                        ) AS waiting
                        WHERE since <= \(bound) GROUP BY workflow, version
                    ) AS found LIMIT $3
                ) AS groups ORDER BY since, workflow, version
                """,
            [
                .int64(Int64(clamping: max(0, seconds))), workflow.map { .text($0) } ?? .null,
                .int64(Int64(clamping: max(0, limit))),
            ], prepared: false)
    }

    /// What is due and a claim would not take: of each lane that is none of the claim's, what comes first in the index.
    static func stranded(
        _ claim: QueueClaim, dueBefore: Date, limit: Int, byServersClock: Bool = false
    ) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                WITH RECURSIVE \(self.allLanes), foreigners AS (
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
                    WHERE due_at <= \(self.now("$1", byServersClock))
                ) AS q ORDER BY q.priority DESC, q.due_at, q.id LIMIT $3
                """,
            [
                .timestamp(dueBefore), .textArray(claim.lanes),
                .int64(Int64(clamping: min(max(0, limit), StoredLimits.surveyRows))),
            ], prepared: false)
    }

    static let serversTime = PostgresStatement(trusted: "SELECT statement_timestamp() AS now", prepared: false)

    /// The pipelines that wait after a place, in the order of the queue's index, one row after the other. Of a lane that is the claim's own only
    /// the first is among them, and what follows it is passed over.
    static func strandedPage(_ claim: QueueClaim, after place: StrandedPlace, limit: Int) -> PostgresStatement {
        let order = "format, \(self.lane), priority, due_at, id"
        return PostgresStatement(
            trusted: """
                WITH RECURSIVE page AS (
                    SELECT 0 AS number, $2::int4 AS format, $3::text COLLATE "C" AS lane, $4::int8 AS priority,
                        coalesce($5::timestamptz, 'infinity') AS due_at, $6::uuid AS id, NULL::text COLLATE "C" AS workflow,
                        NULL::text COLLATE "C" AS version, NULL::timestamptz AS created_at, false AS has_begun
                    UNION ALL
                    SELECT page.number + 1, next.format, next.lane,
                        CASE WHEN next.format = \(StoredLimits.format) AND next.lane = ANY ($1) THEN \(self.aboveAll)
                            ELSE next.priority END,
                        next.due_at, next.id, next.workflow, next.version, next.created_at, next.has_begun
                    FROM page CROSS JOIN LATERAL (
                        SELECT format, \(self.lane) AS lane, priority, due_at, id, workflow, version, created_at,
                            started_at IS NOT NULL AS has_begun
                        FROM cloacina_pipelines
                        WHERE due_at IS NOT NULL
                            AND (\(order)) > (page.format, page.lane, page.priority, page.due_at, page.id)
                        ORDER BY \(order) LIMIT 1
                    ) AS next
                    WHERE page.number < $7
                )
                SELECT format, lane, priority, due_at, id, workflow, version, created_at, has_begun
                FROM page WHERE number > 0 ORDER BY number
                """,
            [
                .textArray(claim.lanes), .int32(Int32(clamping: place.format)), .text(place.lane),
                .int64(Int64(clamping: place.priority)),
                place.dueAt >= .distantFuture ? .null : .timestamp(place.dueAt), .uuid(place.id),
                .int64(Int64(clamping: max(0, limit))),
            ], prepared: false)
    }
}
