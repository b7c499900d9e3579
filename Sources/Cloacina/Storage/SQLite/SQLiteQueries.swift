/// The SQL of ``SQLiteWorkflowStore``, all of it with the file's own plans: rows by their whole key, the queue by its index.
enum SQLiteQueries {
    /// What every connection begins with. It waits for locks from the start, for what follows reads the file; a schema that
    /// was tampered with must not run functions.
    static func settings(_ configuration: SQLiteConfiguration) -> String {
        """
        PRAGMA busy_timeout = \(min(configuration.busyTimeout.wholeMilliseconds, 86_400_000));
        PRAGMA synchronous = \(configuration.synchronous.rawValue);
        PRAGMA trusted_schema = OFF;
        PRAGMA cell_size_check = ON;
        PRAGMA journal_size_limit = 16777216;
        """
    }

    // MARK: Writing

    static let create = """
        INSERT INTO cloacina_pipelines (id, workflow, version, format, state, revision, epoch, recoveries, priority, owner, due_at,
            created_at, started_at, timeout_ms, idempotency_key, input, parent_id, depth)
        VALUES (?1, ?2, ?3, \(StoredLimits.format), CASE WHEN ?4 IS NULL THEN 'queued' ELSE 'running' END, 1,
            CASE WHEN ?4 IS NULL THEN 0 ELSE 1 END, 0, ?5, ?4, ?6, ?7, CASE WHEN ?4 IS NOT NULL THEN ?7 END, ?8,
            ?9, ?10, ?11, ?12)
        ON CONFLICT DO NOTHING
        """

    /// Whom a new pipeline collides with: its own id first, then its key's.
    static let existing = """
        SELECT id FROM cloacina_pipelines WHERE id = ?1
        UNION ALL SELECT id FROM cloacina_pipelines WHERE idempotency_key = ?2
        """

    static let happened = """
        INSERT INTO cloacina_events (pipeline_id, revision, position, kind, task, attempt, worker, started_at, at, due_at,
            reason, detail, delta)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
        """

    /// What was asked of a pipeline. RETURNING would make a table of its own for that.
    static let asked = "SELECT request FROM cloacina_pipelines WHERE id = ?1"

    /// One transition; no row is changed when revision and epoch aren't as expected.
    static let apply = """
        UPDATE cloacina_pipelines SET revision = revision + 1, state = ?2, due_at = ?3, ended_at = coalesce(?4, ended_at),
            owner = CASE ?2 WHEN 'running' THEN owner END, output = ?7, outcomes = ?8,
            started_at = CASE WHEN ?9 THEN NULL ELSE started_at END, version = coalesce(?10, version),
            request = CASE WHEN ?2 = 'running' OR ?2 = 'queued' AND request <> 'resume' OR ?2 = 'paused' AND request <> 'pause'
                THEN request END
        WHERE id = ?1 AND revision = ?5 AND epoch = ?6
        """

    static let claim = """
        UPDATE cloacina_pipelines SET state = 'running', revision = revision + 1, epoch = epoch + 1, owner = ?2, due_at = NULL,
            version = ?3, started_at = ?4
        WHERE id = ?1
        """

    static let ask =
        "UPDATE cloacina_pipelines SET request = ?2 WHERE id = ?1 AND state = 'running' AND request IS NOT 'cancel'"

    static let beat = """
        INSERT INTO cloacina_runners (id, beats, seen_at, is_stopping) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (id) DO UPDATE SET beats = excluded.beats, seen_at = excluded.seen_at, is_stopping = excluded.is_stopping
        """

    static let leave = "DELETE FROM cloacina_runners WHERE id = ?1"

    static let claims = """
        SELECT id, epoch FROM cloacina_pipelines WHERE owner = ?1 AND state = 'running' AND revision > 1 LIMIT 100000
        """

    static let recover = """
        UPDATE cloacina_pipelines SET state = 'queued', revision = revision + 1, epoch = epoch + 1, owner = NULL,
            due_at = min(?2, coalesce(started_at, created_at)), recoveries = min(recoveries + 1, \(StoredLimits.count)),
            started_at = CASE WHEN EXISTS (SELECT 1 FROM cloacina_events WHERE pipeline_id = ?1 AND task IS NOT NULL)
                THEN started_at END,
            request = nullif(request, 'resume')
        WHERE id = ?1
        """

    /// Stops a pipeline that can't be read, whatever else is stored of it.
    static let putAside = """
        UPDATE cloacina_pipelines SET state = 'paused', owner = NULL, due_at = NULL, revision = revision + 1
        WHERE id = ?1 RETURNING revision
        """

    static let deleteEvents = "DELETE FROM cloacina_events WHERE pipeline_id = ?1"
    static let deletePipeline = "DELETE FROM cloacina_pipelines WHERE id = ?1 AND ended_at < ?2"

    // MARK: Reading

    private static let pipelineColumns = """
        id, workflow, version, started_at, state, revision, epoch, owner, recoveries, priority,
        timeout_ms, input, created_at, ended_at, due_at, request, idempotency_key, parent_id, depth
        """

    static let load = "SELECT \(pipelineColumns), output, outcomes FROM cloacina_pipelines WHERE id = ?1"

    static let status = "SELECT state FROM cloacina_pipelines WHERE id = ?1"

    private static let eventColumns = "kind, task, attempt, worker, started_at, at, reason, detail, delta, due_at"

    /// How many bytes a pipeline's lines take up; counted up to one more than are read.
    static let historyBytes = """
        SELECT coalesce(sum(200 + coalesce(length(detail), 0) + coalesce(length(delta), 0)), 0) FROM (
            SELECT detail, delta FROM cloacina_events WHERE pipeline_id = ?1 LIMIT \(StoredLimits.historyLines + 1))
        """

    static let children = """
        SELECT id FROM cloacina_pipelines WHERE parent_id = ?1 AND ended_at IS NULL ORDER BY id LIMIT \(StoredLimits.surveyRows)
        """

    static let history = """
        SELECT \(eventColumns)
        FROM cloacina_events WHERE pipeline_id = ?1 ORDER BY revision, position
        """

    /// What waits, in the order in which it is claimed. Who claims reads on until it has enough of what it knows.
    static let due = """
        SELECT \(pipelineColumns) FROM cloacina_pipelines
        WHERE due_at <= ?1 AND priority = ?2 AND state = 'queued' AND format <= \(StoredLimits.format)
            AND revision < \(StoredLimits.count) AND epoch < \(StoredLimits.count) AND (NOT ?3 OR parent_id IS NOT NULL)
        ORDER BY due_at, id
        """

    /// The highest priority of what waits, up to one. The queue's index is by priority: going from one to the next
    /// reads a few rows, however many wait for their time.
    static let level = """
        SELECT max(priority) FROM cloacina_pipelines WHERE due_at IS NOT NULL AND priority <= ?1
        """

    static let request = "SELECT request FROM cloacina_pipelines WHERE id = ?1 AND owner = ?2"

    static let isDue = """
        SELECT 1 FROM cloacina_pipelines WHERE due_at <= ?1 AND priority = ?2 AND state = 'queued' LIMIT 1
        """

    static let nextDue = "SELECT min(due_at) FROM cloacina_pipelines WHERE due_at > ?1 AND priority = ?2"

    static let beats = "SELECT id, beats FROM cloacina_runners LIMIT \(StoredLimits.surveyRows)"

    /// Also the owners of running pipelines that never said anything.
    static let beatsOfEveryOwner = """
        SELECT * FROM (SELECT id, beats FROM cloacina_runners LIMIT \(StoredLimits.surveyRows))
        UNION ALL
        SELECT * FROM (
            SELECT DISTINCT owner, 0 FROM cloacina_pipelines
            WHERE state = 'running' AND owner IS NOT NULL AND owner NOT IN (SELECT id FROM cloacina_runners)
            LIMIT \(StoredLimits.surveyRows))
        """

    static let unheard = """
        SELECT id, request FROM cloacina_pipelines WHERE state = 'paused' AND request IS NOT NULL LIMIT \(StoredLimits.surveyRows)
        """

    static let beatsOfRunner = "SELECT beats, is_stopping FROM cloacina_runners WHERE id = ?1"

    static let lost = """
        SELECT id, revision FROM cloacina_pipelines
        WHERE state = 'running' AND owner = ?1 AND revision < \(StoredLimits.count) AND epoch < \(StoredLimits.count)
        ORDER BY id LIMIT 10000
        """

    static let list = """
        SELECT id, workflow, version, state, created_at, started_at, ended_at, recoveries
        FROM cloacina_pipelines
        WHERE id < coalesce(?1, X'\(String(repeating: "FF", count: 17))') AND (?2 IS NULL OR workflow = ?2)
            AND (?3 IS NULL OR state IN (SELECT value FROM json_each(?3)))
        ORDER BY id DESC LIMIT ?4
        """

    /// Walks the primary key backwards: from the place after which to begin, else from the end of the one pipeline, else from
    /// the end of all.
    static let events = """
        SELECT pipeline_id, revision, position, \(eventColumns)
        FROM cloacina_events
        WHERE pipeline_id >= coalesce(?3, X'') AND (pipeline_id, revision, position) < (
                coalesce(?4, ?3, X'\(String(repeating: "FF", count: 17))'), coalesce(?5, 9223372036854775807),
                coalesce(?6, 0))
            AND (?1 IS NULL OR kind IN (SELECT value FROM json_each(?1))) AND (?2 IS NULL OR task = ?2)
            AND (?3 IS NULL OR pipeline_id = ?3)
        ORDER BY pipeline_id DESC, revision DESC, position DESC LIMIT ?7
        """

    /// The oldest first; what is younger than the time cannot have ended before it, and is not read.
    static let ended = """
        SELECT id FROM cloacina_pipelines AS p
        WHERE id < ?2 AND ended_at < ?1 AND NOT EXISTS (
            SELECT 1 FROM cloacina_pipelines AS parent WHERE parent.id = p.parent_id AND parent.ended_at IS NULL)
        ORDER BY id LIMIT ?3
        """
}
