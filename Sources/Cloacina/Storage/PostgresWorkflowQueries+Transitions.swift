import CloacinaPostgres
import FoundationEssentials

/// The writes of a runner to its pipelines, and the commits of tasks themselves.
extension PostgresWorkflowQueries {
    static let eventColumns = """
        pipeline_id, revision, position, kind, task, attempt, worker, started_at, at, due_at, reason, detail, delta
        """

    private static let eventTypes = [
        "text", "text", "int4", "uuid", "timestamptz", "timestamptz", "timestamptz", "text", "text", "text",
    ]

    /// The columns of an event in the arrays that ``binds(of:)`` makes, which begin at a parameter.
    private static func eventArrays(from first: Int) -> String {
        self.eventTypes.enumerated().map { "$\(first + $0.offset)::\($0.element)[]" }.joined(separator: ", ")
    }

    /// The lines of a transition as rows with the columns of an event and a position from 1. Most have one, for which the server
    /// does without ten sets to read side by side.
    private static func lines(_ events: [PipelineEvent], from first: Int) -> (rows: String, binds: [PostgresValue]) {
        guard events.count == 1 else {
            return ("unnest(\(self.eventArrays(from: first))) WITH ORDINALITY", self.binds(of: events))
        }
        let columns = self.eventTypes.enumerated().map { "$\(first + $0.offset)::\($0.element)" }.joined(
            separator: ", ")
        return ("(VALUES (\(columns), 1))", self.binds(of: events[0]))
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

    /// One transition: the statement of a healthy pipeline. It answers a row unless the owner, the revision or the epoch has changed,
    /// and then nothing is stored. Own commits that it folds in are taken away where they stand apart.
    static func apply(_ change: PipelineChange, byServersClock: Bool = false) -> PostgresStatement {
        let transition = change.transition
        var binds: [PostgresValue] = [
            .uuid(change.id), .int32(Int32(clamping: transition.expectedRevision)),
            .int32(Int32(clamping: change.epoch)),
            .text(transition.status.rawValue), transition.dueAt.map { .timestamp($0) } ?? .null,
            transition.status.isTerminal ? .timestamp(change.at) : .null,
        ]
        let lines = self.lines(transition.events, from: 7)
        binds += lines.binds
        binds += [
            transition.output.map { .text($0) } ?? .null, transition.outcomes.map { .text($0) } ?? .null,
            .bool(transition.isUnbegun), transition.version.map { .text($0) } ?? .null,
            change.owner.map { .uuid($0) } ?? .null,
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
                    DELETE FROM cloacina_task_commits AS c USING guard WHERE c.pipeline_id = $1 AND c.task = ANY ($22)
                )
                """
            binds.append(.textArray(transition.folds))
        }
        var dueAt = change.isDueAtOnce ? self.dueNow("$5") : "$5"
        if byServersClock, change.hasDelay {
            binds.append(.timestamp(change.at))
            dueAt = self.later("$5::timestamptz", asOf: "$\(binds.count)::timestamptz", true)
        }
        return PostgresStatement(
            trusted: """
                WITH guard AS (
                    UPDATE cloacina_pipelines SET revision = $2 + 1, state = $4::text, due_at = \(dueAt), ended_at = $6,
                        owner = CASE $4 WHEN 'running' THEN owner END, output = $17::text, outcomes = $18::text,
                        started_at = CASE WHEN \(unbegun) THEN NULL ELSE started_at END, version = coalesce($20::text, version),
                        request = \(self.pending("request", at: "$4"))
                    WHERE id = $1 AND revision = $2 AND epoch = $3 AND ($21::uuid IS NULL OR owner = $21)
                    RETURNING id, revision, request
                )\(folding), happened AS (
                    INSERT INTO cloacina_events (\(self.eventColumns))
                    SELECT $1, $2 + 1, e.position\(offset), \(self.eventValues)
                    FROM guard, \(lines.rows) AS e (\(self.arrayColumns), position)
                )
                SELECT request FROM guard
                """, binds)
    }

    /// Makes lines of all own commits of pipelines that stand apart; their numbers come from 0 in each pipeline. A line that
    /// somebody wrote in the place of one of them stays.
    static func foldEverything(of pipelines: String) -> String {
        """
        , commits AS (
            DELETE FROM cloacina_task_commits AS c USING (\(pipelines)) AS g WHERE c.pipeline_id = g.id
            RETURNING c.pipeline_id, g.revision, c.task, c.attempt, c.worker, c.started_at, c.at, c.delta
        ), folded AS (
            INSERT INTO cloacina_events (pipeline_id, revision, position, kind, task, attempt, worker, started_at, at, delta)
            SELECT pipeline_id, revision, row_number() OVER (PARTITION BY pipeline_id ORDER BY at, task) - 1,
                'task completed', task, attempt, worker, started_at, at, delta
            FROM commits ON CONFLICT DO NOTHING
        )
        """
    }

    /// Transitions of several pipelines at once; answers the ids of those that are stored. None of them folds everything.
    static func apply(_ changes: [PipelineChange], byServersClock: Bool = false) -> PostgresStatement {
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
            .optionalUUIDArray(changes.map(\.owner)),
        ]
        var folding = ""
        if changes.contains(where: { !$0.transition.folds.isEmpty }) {
            folding = """
                , commits AS (
                    DELETE FROM cloacina_task_commits AS c
                    USING unnest($24::uuid[], $25::text[]) AS f (pipeline_id, task) JOIN guard ON guard.id = f.pipeline_id
                    WHERE c.pipeline_id = f.pipeline_id AND c.task = f.task
                )
                """
            binds += [
                .uuidArray(changes.flatMap { change in change.transition.folds.map { _ in change.id } }),
                .textArray(changes.flatMap(\.transition.folds)),
            ]
        }
        var (isDueAtOnce, decidedAt, dueAt) = ("NULL::bool[]", "NULL::timestamptz[]", "c.due_at")
        if byServersClock, changes.contains(where: \.hasDelay) {
            binds.append(.optionalTimestampArray(changes.map { $0.hasDelay ? $0.at : nil }))
            decidedAt = "$\(binds.count)::timestamptz[]"
            let later = self.later("c.due_at", asOf: "c.decided_at", true)
            dueAt = "CASE WHEN c.decided_at IS NULL THEN c.due_at ELSE \(later) END"
        }
        if changes.contains(where: \.isDueAtOnce) {
            binds.append(.boolArray(changes.map(\.isDueAtOnce)))
            isDueAtOnce = "$\(binds.count)::bool[]"
            dueAt = "CASE WHEN c.is_due_at_once THEN \(self.dueNow("c.due_at")) ELSE \(dueAt) END"
        }
        return PostgresStatement(
            trusted: """
                WITH guard AS (
                    UPDATE cloacina_pipelines AS p SET revision = c.revision + 1, state = c.state, due_at = \(dueAt),
                        ended_at = c.ended_at, owner = CASE c.state WHEN 'running' THEN p.owner END, output = c.output,
                        outcomes = c.outcomes, started_at = CASE WHEN c.is_unbegun THEN NULL ELSE p.started_at END,
                        version = coalesce(c.version, p.version), request = \(self.pending("p.request", at: "c.state"))
                    FROM unnest($1::uuid[], $2::int4[], $3::int4[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                            $19::text[], $20::text[], $21::bool[], $22::text[], $23::uuid[], \(isDueAtOnce),
                            \(decidedAt))
                        AS c (id, revision, epoch, state, due_at, ended_at, output, outcomes, is_unbegun, version,
                            owner, is_due_at_once, decided_at)
                    WHERE p.id = c.id AND p.revision = c.revision AND p.epoch = c.epoch
                        AND (c.owner IS NULL OR p.owner = c.owner)
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
                    SELECT id FROM cloacina_pipelines
                    WHERE id = $1 AND epoch = $2 AND state = 'running' AND ($5::uuid IS NULL OR owner = $5) FOR SHARE
                )
                INSERT INTO cloacina_task_commits (pipeline_id, task, epoch, attempt, worker, started_at, at, delta)
                SELECT id, $3::text, $2, $4::int4, $5, $6, $7, $8::text FROM claim
                ON CONFLICT DO NOTHING
                RETURNING task
                """,
            [
                .uuid(place.pipeline), .int32(Int32(clamping: place.epoch)), .text(place.task),
                .int32(Int32(clamping: event.attempt)), event.worker.map { .uuid($0) } ?? .null,
                event.startedAt.map { .timestamp($0) } ?? .null, .timestamp(event.at),
                event.storedDelta.map { .text($0) } ?? .null,
            ])
    }

    /// Waits until nobody is committing a completion of the pipeline's.
    static func lock(_ id: UUID) -> PostgresStatement {
        PostgresStatement(trusted: "SELECT id FROM cloacina_pipelines WHERE id = $1 FOR UPDATE", [.uuid(id)])
    }

    /// Finds the completion that a runner's attempt committed itself, whether it stands apart or was folded in.
    static func ownCommit(at place: TaskPlace, attempt: Int, by worker: UUID) -> PostgresStatement {
        PostgresStatement(
            trusted: """
                SELECT task FROM cloacina_task_commits WHERE pipeline_id = $1 AND task = $2 AND attempt = $3 AND worker = $4
                UNION ALL
                SELECT task FROM cloacina_events
                WHERE pipeline_id = $1 AND task = $2 AND attempt = $3 AND worker = $4 AND kind = 'task completed'
                """, [.uuid(place.pipeline), .text(place.task), .int32(Int32(clamping: attempt)), .uuid(worker)])
    }

    private static func binds(of event: PipelineEvent) -> [PostgresValue] {
        [
            .text(event.kind.rawValue), event.task.map { .text($0) } ?? .null, .int32(Int32(clamping: event.attempt)),
            event.worker.map { .uuid($0) } ?? .null, event.startedAt.map { .timestamp($0) } ?? .null,
            .timestamp(event.at),
            event.dueAt.map { .timestamp($0) } ?? .null, (event.reason?.rawValue).map { .text($0) } ?? .null,
            event.detail.map { .text($0) } ?? .null, event.storedDelta.map { .text($0) } ?? .null,
        ]
    }

    private static func binds(of events: [PipelineEvent]) -> [PostgresValue] {
        [
            .textArray(events.map(\.kind.rawValue)), .optionalTextArray(events.map(\.task)),
            .int32Array(events.map { Int32(clamping: $0.attempt) }), .optionalUUIDArray(events.map(\.worker)),
            .optionalTimestampArray(events.map(\.startedAt)), .timestampArray(events.map(\.at)),
            .optionalTimestampArray(events.map(\.dueAt)), .optionalTextArray(events.map { $0.reason?.rawValue }),
            .optionalTextArray(events.map(\.detail)),
            .optionalTextArray(events.map(\.storedDelta)),
        ]
    }
}
