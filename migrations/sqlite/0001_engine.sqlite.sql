-- The engine's tables: pipelines, their histories, and the runners, so that a pipeline outlives its process.
-- migrate:up

-- One row per pipeline. The runner that has claimed it is the only one to change it; each change adds one to the revision
-- and each claim one to the epoch, under a compare-and-set on both. Ids are 16 bytes, times microseconds since 1970; input,
-- output and deltas are JSON.
CREATE TABLE cloacina_pipelines (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    -- A row of a higher format than a runner knows is left to newer runners.
    format INTEGER NOT NULL,
    -- Not IN: SQLite would make a table of the words for each row that it checks.
    state TEXT NOT NULL CHECK (
        state = 'queued' OR state = 'running' OR state = 'paused' OR state = 'completed' OR state = 'failed'
        OR state = 'cancelled'),
    revision INTEGER NOT NULL CHECK (revision >= 1 AND revision <= 1000000000),
    epoch INTEGER NOT NULL CHECK (epoch >= 0 AND epoch <= 1000000000),
    recoveries INTEGER NOT NULL CHECK (recoveries >= 0 AND recoveries <= 1000000000),
    priority INTEGER NOT NULL,
    owner BLOB CHECK (length(owner) = 16),
    due_at INTEGER,
    created_at INTEGER NOT NULL,
    -- NULL as long as no task has a line in the history: such a pipeline begins with the newest version of its workflow.
    started_at INTEGER,
    ended_at INTEGER,
    timeout_ms INTEGER CHECK (timeout_ms >= 0),
    request TEXT,
    idempotency_key TEXT,
    parent_id BLOB CHECK (length(parent_id) = 16),
    depth INTEGER NOT NULL,
    input TEXT NOT NULL,
    -- What the pipeline handed back and how each task ended, from its end on: readable without the workflow's code.
    output TEXT,
    outcomes TEXT
) STRICT, WITHOUT ROWID;

-- The pipelines that wait for a runner, by what decides who may take them: a runner reads only what it can take, however much
-- else waits.
CREATE INDEX cloacina_pipelines_due ON cloacina_pipelines (
    format, (CASE WHEN started_at IS NULL THEN '' ELSE version END || ' ' || workflow), priority, due_at, id
) WHERE due_at IS NOT NULL;

-- What each runner has claimed, so that a dead runner's pipelines are found however many have ended.
CREATE INDEX cloacina_pipelines_owner ON cloacina_pipelines (owner) WHERE state = 'running';

-- What was asked of pipelines that nobody has, and that is not carried out.
CREATE INDEX cloacina_pipelines_request ON cloacina_pipelines (id)
WHERE (state = 'paused' OR state = 'queued') AND request IS NOT NULL;

-- At most one pipeline has a key.
CREATE UNIQUE INDEX cloacina_pipelines_key ON cloacina_pipelines (idempotency_key) WHERE idempotency_key IS NOT NULL;

-- The children of a pipeline.
CREATE INDEX cloacina_pipelines_parent ON cloacina_pipelines (parent_id) WHERE parent_id IS NOT NULL;

-- The history, numbered by the revision that each line came with. Rows are only ever added. A pipeline is taken up from these:
-- they say what each task came to and what it changed in its context.
CREATE TABLE cloacina_events (
    pipeline_id BLOB NOT NULL,
    revision INTEGER NOT NULL,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    task TEXT,
    attempt INTEGER NOT NULL CHECK (attempt >= 0 AND attempt <= 1000000000),
    worker BLOB CHECK (length(worker) = 16),
    started_at INTEGER,
    at INTEGER NOT NULL,
    due_at INTEGER,
    reason TEXT,
    detail TEXT,
    delta TEXT,
    PRIMARY KEY (pipeline_id, revision, position)
) STRICT, WITHOUT ROWID;

-- The runners with pipelines of their own. One whose number of beats stays the same has died; one that was stopping when it did
-- was ended from outside.
CREATE TABLE cloacina_runners (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    beats INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    is_stopping INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- migrate:down
DROP TABLE cloacina_runners;
DROP TABLE cloacina_events;
DROP TABLE cloacina_pipelines;

-- migrate:verify
SELECT count(*) = 3 FROM sqlite_schema
WHERE type = 'table' AND name IN ('cloacina_pipelines', 'cloacina_events', 'cloacina_runners');
