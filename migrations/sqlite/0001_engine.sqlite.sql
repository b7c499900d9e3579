-- The engine's tables: a run of a workflow, its tasks and what happened to them, so that a run outlives its process.
-- migrate:up

-- One run of a workflow. Ids are 16 bytes, times microseconds since 1970.
CREATE TABLE cloacina_pipelines (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    workflow TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'completed', 'failed', 'cancelled')),
    revision INTEGER NOT NULL,
    input TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT, WITHOUT ROWID;

-- One task of a run. The epoch counts its claims.
CREATE TABLE cloacina_tasks (
    pipeline_id BLOB NOT NULL,
    task TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'ready', 'running', 'completed', 'failed', 'skipped')),
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    owner BLOB,
    queued_at INTEGER,
    started_at INTEGER,
    ended_at INTEGER,
    reason TEXT,
    delta TEXT,
    PRIMARY KEY (pipeline_id, task)
) STRICT;

-- The tasks that anyone may claim.
CREATE INDEX cloacina_tasks_queued ON cloacina_tasks (queued_at) WHERE queued_at IS NOT NULL;

-- What happened, numbered by the revision it came with.
CREATE TABLE cloacina_events (
    pipeline_id BLOB NOT NULL,
    revision INTEGER NOT NULL,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    task TEXT,
    attempt INTEGER NOT NULL,
    at INTEGER NOT NULL,
    detail TEXT,
    PRIMARY KEY (pipeline_id, revision, position)
) STRICT;

-- migrate:down
DROP TABLE cloacina_events;
DROP TABLE cloacina_tasks;
DROP TABLE cloacina_pipelines;

-- migrate:verify
SELECT count(*) = 3 FROM sqlite_schema
WHERE type = 'table' AND name IN ('cloacina_pipelines', 'cloacina_tasks', 'cloacina_events');
