-- The engine's tables: runs of workflows, what happened to them, and who runs them, so that a run outlives its process.
-- migrate:up

-- One run of a workflow. The runner that has claimed it is the only one to change it; each change adds one to the revision
-- and each claim one to the epoch, under a compare-and-set on both. Ids are 16 bytes, times microseconds since 1970; input
-- and deltas are JSON.
CREATE TABLE cloacina_pipelines (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    -- Not IN: SQLite would make a table of the words for each row that it checks.
    state TEXT NOT NULL CHECK (
        state = 'queued' OR state = 'running' OR state = 'paused' OR state = 'completed' OR state = 'failed'
        OR state = 'cancelled'),
    revision INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    recoveries INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    owner BLOB CHECK (length(owner) = 16),
    due_at INTEGER,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    timeout_ms INTEGER,
    request TEXT,
    idempotency_key TEXT,
    input TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The runs that wait for a runner, in the order in which they are claimed.
CREATE INDEX cloacina_pipelines_due ON cloacina_pipelines (priority DESC, due_at, id) WHERE due_at IS NOT NULL;

-- At most one run has a key.
CREATE UNIQUE INDEX cloacina_pipelines_key ON cloacina_pipelines (idempotency_key) WHERE idempotency_key IS NOT NULL;

-- What happened, numbered by the revision it came with. Rows are only ever added. A run is taken up from these: they say what
-- each task came to and what it changed in its context.
CREATE TABLE cloacina_events (
    pipeline_id BLOB NOT NULL,
    revision INTEGER NOT NULL,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    task TEXT,
    attempt INTEGER NOT NULL,
    worker BLOB CHECK (length(worker) = 16),
    started_at INTEGER,
    at INTEGER NOT NULL,
    due_at INTEGER,
    detail TEXT,
    delta TEXT,
    PRIMARY KEY (pipeline_id, revision, position)
) STRICT, WITHOUT ROWID;

-- The runners with runs of their own. One whose number of beats stays the same has died.
CREATE TABLE cloacina_runners (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    beats INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- migrate:down
DROP TABLE cloacina_runners;
DROP TABLE cloacina_events;
DROP TABLE cloacina_pipelines;

-- migrate:verify
SELECT count(*) = 3 FROM sqlite_schema
WHERE type = 'table' AND name IN ('cloacina_pipelines', 'cloacina_events', 'cloacina_runners');
