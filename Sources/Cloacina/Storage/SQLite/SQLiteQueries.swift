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

    /// Keeps a map of who points to each page, so that free ones can be given back without writing the whole file anew. It counts for
    /// a file that is empty, and for any other with its next VACUUM.
    static let incrementalVacuum = "PRAGMA auto_vacuum = INCREMENTAL"

    // MARK: Writing

    static let create = """
        INSERT INTO cloacina_pipelines (id, workflow, version, format, state, revision, epoch, recoveries, priority, owner, due_at,
            created_at, started_at, timeout_ms, idempotency_key, input, parent_id, depth)
        VALUES (?1, ?2, ?3, \(StoredLimits.format), CASE WHEN ?4 IS NULL THEN 'queued' ELSE 'running' END, 1,
            CASE WHEN ?4 IS NULL THEN 0 ELSE 1 END, 0, ?5, ?4, ?6, ?7, CASE WHEN ?4 IS NOT NULL THEN ?7 END, ?8,
            ?9, ?10, ?11, ?12)
        ON CONFLICT DO NOTHING
        """

    /// Takes a key from a pipeline of the same workflow that failed or was cancelled, for a new one that isn't stored yet.
    static let releaseKey = """
        UPDATE cloacina_pipelines SET idempotency_key = NULL
        WHERE idempotency_key = ?1 AND workflow = ?2 AND state IN ('failed', 'cancelled') AND parent_id IS NULL
            AND NOT EXISTS (SELECT 1 FROM cloacina_pipelines WHERE id = ?3)
        """

    /// Whom a new pipeline collides with: its own id first, then its key's; and if the input is the same text.
    static let existing = """
        SELECT id, workflow, parent_id, input = ?3 FROM cloacina_pipelines WHERE id = ?1
        UNION ALL SELECT id, workflow, parent_id, input = ?3 FROM cloacina_pipelines WHERE idempotency_key = ?2
        """

    /// An input, unless it is beyond what is read.
    static let input = """
        SELECT CASE WHEN \(bytes("input")) <= \(StoredLimits.valueBytes) THEN input END
        FROM cloacina_pipelines WHERE id = ?1
        """

    static let happened = """
        INSERT INTO cloacina_events (pipeline_id, revision, position, kind, task, attempt, worker, started_at, at, due_at,
            reason, detail, delta)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
        """

    /// What was asked of a pipeline. RETURNING would make a table of its own for that.
    static let asked = "SELECT request FROM cloacina_pipelines WHERE id = ?1"

    /// One transition; no row is changed when owner, revision and epoch aren't as expected.
    static let apply = """
        UPDATE cloacina_pipelines SET revision = revision + 1, state = ?2, due_at = ?3, ended_at = coalesce(?4, ended_at),
            owner = CASE ?2 WHEN 'running' THEN owner END, output = ?7, outcomes = ?8,
            started_at = CASE WHEN ?9 THEN NULL ELSE started_at END, version = coalesce(?10, version),
            request = CASE WHEN ?2 = 'running' OR ?2 = 'queued' AND request <> 'resume' OR ?2 = 'paused' AND request <> 'pause'
                THEN request END
        WHERE id = ?1 AND revision = ?5 AND epoch = ?6 AND (?11 IS NULL OR owner = ?11)
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
        SELECT id, epoch FROM cloacina_pipelines
        WHERE owner = ?1 AND state = 'running' AND (revision > 1 OR ?2) LIMIT 100000
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

    /// A row when a pipeline is still there and old.
    static let isOld = "SELECT 1 FROM cloacina_pipelines WHERE id = ?1 AND ended_at < ?2"

    /// Deletes lines of one history, no more than a number.
    static let deleteEvents = """
        DELETE FROM cloacina_events WHERE pipeline_id = ?1 AND (revision, position) IN (
            SELECT revision, position FROM cloacina_events WHERE pipeline_id = ?1 LIMIT ?2)
        """
    static let deletePipeline = "DELETE FROM cloacina_pipelines WHERE id = ?1 AND ended_at < ?2"

    // MARK: Reading

    /// The number of bytes of a text column; `length` alone counts characters, up to the first NUL. `octet_length` is younger than
    /// what Debian has.
    private static func bytes(_ column: String) -> String { "length(CAST(\(column) AS BLOB))" }

    /// A text column, or no text at all, which can't be read, where it has more bytes.
    private static func atMost(_ bytes: Int, _ column: String) -> String {
        "CASE WHEN \(self.bytes(column)) > \(bytes) THEN X'' ELSE \(column) END"
    }

    private static let pipelineColumns = """
        id, workflow, version, started_at, state, revision, epoch, owner, recoveries, priority,
        timeout_ms, \(atMost(StoredLimits.valueBytes, "input")), created_at, ended_at, due_at, request, idempotency_key,
        parent_id, depth
        """

    static let load = """
        SELECT \(pipelineColumns), \(atMost(StoredLimits.resultBytes, "output")),
            \(atMost(StoredLimits.resultBytes, "outcomes"))
        FROM cloacina_pipelines WHERE id = ?1
        """

    static let status = "SELECT state FROM cloacina_pipelines WHERE id = ?1"

    static let standing = "SELECT state, revision, epoch, owner FROM cloacina_pipelines WHERE id = ?1"

    private static let eventColumns = "kind, task, attempt, worker, started_at, at, reason, detail, delta, due_at"

    /// The same where nobody has counted the bytes before.
    private static let boundedEventColumns = """
        kind, \(atMost(StoredLimits.nameBytes, "task")), attempt, worker, started_at, at,
        \(atMost(StoredLimits.nameBytes, "reason")), \(atMost(StoredLimits.valueBytes, "detail")),
        \(atMost(StoredLimits.valueBytes, "delta")), due_at
        """

    /// How many bytes a pipeline's lines take up; counted up to one line more than are read, and then more bytes than are.
    static let historyBytes = """
        SELECT coalesce(sum(200 + coalesce(\(bytes("detail")), 0) + coalesce(\(bytes("delta")), 0)), 0)
            + CASE WHEN count(*) > \(StoredLimits.historyLines) THEN \(StoredLimits.historyBytes + 1) ELSE 0 END FROM (
            SELECT detail, delta FROM cloacina_events WHERE pipeline_id = ?1 LIMIT \(StoredLimits.historyLines + 1))
        """

    /// A page of the children of a pipeline that have not ended.
    static let children = """
        SELECT id FROM cloacina_pipelines WHERE parent_id = ?1 AND ended_at IS NULL AND id > coalesce(?2, X'')
        ORDER BY id LIMIT \(StoredLimits.surveyRows)
        """

    static let history = """
        SELECT \(eventColumns)
        FROM cloacina_events WHERE pipeline_id = ?1 ORDER BY revision, position
        """

    /// The lane of a pipeline that waits, as the queue's index has it; see ``QueueClaim/lanes``.
    private static let lane = "(CASE WHEN started_at IS NULL THEN '' ELSE version END || ' ' || workflow)"

    /// What waits that this version can read, in a condition.
    private static let waits = "due_at IS NOT NULL AND format = \(StoredLimits.format)"

    /// The first lane, from one on, that something waits in. Going from one to the next reads a row, however much waits.
    static let filledLane =
        "SELECT \(lane) FROM cloacina_pipelines WHERE \(waits) AND \(lane) >= ?1 ORDER BY \(lane) LIMIT 1"

    /// The highest priority of what waits in a lane, up to one.
    static let level = "SELECT max(priority) FROM cloacina_pipelines WHERE \(waits) AND \(lane) = ?1 AND priority <= ?2"

    /// The places of what waits in a lane with a priority, in the order in which it is claimed. What is due later is not read.
    static let due = """
        SELECT id, due_at FROM cloacina_pipelines
        WHERE due_at <= ?1 AND format = \(StoredLimits.format) AND \(lane) = ?2 AND priority = ?3 AND state = 'queued'
            AND revision < \(StoredLimits.claimableCount) AND epoch < \(StoredLimits.claimableCount) AND (NOT ?4 OR parent_id IS NOT NULL)
        ORDER BY due_at, id LIMIT ?5
        """

    private static let waiting = """
        id, workflow, version, format, started_at IS NOT NULL, priority, created_at, due_at FROM cloacina_pipelines
        """

    /// What waits in a lane, from the lowest priority, up to a number.
    static let inLane = """
        SELECT \(waiting) WHERE \(waits) AND \(lane) = ?1 ORDER BY priority, due_at, id LIMIT \(StoredLimits.laneHead)
        """

    /// The first lane of a format, from one on, that something waits in.
    static let laneOfFormat = """
        SELECT \(lane) FROM cloacina_pipelines WHERE due_at IS NOT NULL AND format = ?1 AND \(lane) >= ?2 ORDER BY \(lane) LIMIT 1
        """

    /// The first format after one that something waits in.
    static let formatAfter = "SELECT min(format) FROM cloacina_pipelines WHERE due_at IS NOT NULL AND format > ?1"

    /// The pipelines that wait in a lane after a place, up to a number.
    static let inLaneAfter = """
        SELECT \(waiting)
        WHERE due_at IS NOT NULL AND format = ?1 AND \(lane) = ?2 AND (priority, due_at, id) > (?3, ?4, ?5)
        ORDER BY priority, due_at, id LIMIT ?6
        """

    /// What waits and a newer version of this library wrote, up to a number.
    static let ofNewerFormat = """
        SELECT \(waiting) WHERE due_at IS NOT NULL AND format > \(StoredLimits.format) ORDER BY format LIMIT \(StoredLimits.laneHead)
        """

    static let queued = "SELECT \(pipelineColumns) FROM cloacina_pipelines WHERE id = ?1"

    static let request = "SELECT request FROM cloacina_pipelines WHERE id = ?1 AND owner = ?2"

    static let isDue = """
        SELECT 1 FROM cloacina_pipelines
        WHERE due_at <= ?1 AND format = \(StoredLimits.format) AND \(lane) = ?2 AND priority = ?3 AND state = 'queued' LIMIT 1
        """

    static let nextDue = """
        SELECT min(due_at) FROM cloacina_pipelines
        WHERE due_at > ?1 AND format = \(StoredLimits.format) AND \(lane) = ?2 AND priority = ?3
        """

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
        SELECT id, request FROM cloacina_pipelines
        WHERE (state = 'paused' OR state = 'queued') AND request IS NOT NULL AND (state = 'paused' OR request = 'cancel')
        LIMIT \(StoredLimits.surveyRows)
        """

    static let beatsOfRunner = "SELECT beats, is_stopping FROM cloacina_runners WHERE id = ?1"

    /// The number of pipelines that are recovered at once.
    static let mostLost = 10_000

    static let lost = """
        SELECT id, revision FROM cloacina_pipelines
        WHERE state = 'running' AND owner = ?1 AND revision < \(StoredLimits.claimableCount) AND epoch < \(StoredLimits.claimableCount)
        ORDER BY id LIMIT \(mostLost)
        """

    /// The beginning of a text column where it has more bytes than a name.
    private static func name(_ column: String) -> String {
        let limit = StoredLimits.nameBytes
        return
            "CASE WHEN \(self.bytes(column)) > \(limit) THEN substr(\(column), 1, \(limit)) ELSE \(column) END"
    }

    static let list = """
        SELECT id, \(name("workflow")), \(name("version")), state, created_at, started_at, ended_at, recoveries
        FROM cloacina_pipelines
        WHERE id < coalesce(?1, X'\(String(repeating: "FF", count: 17))') AND (?2 IS NULL OR workflow = ?2)
            AND (?3 IS NULL OR state IN (SELECT value FROM json_each(?3)))
        ORDER BY id DESC LIMIT ?4
        """

    /// Walks the primary key backwards: from the place after which to begin, else from the end of the one pipeline, else from
    /// the end of all.
    static let events = """
        SELECT pipeline_id, revision, position, \(boundedEventColumns)
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
