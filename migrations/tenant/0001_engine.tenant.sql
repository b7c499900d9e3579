-- The engine's tables: a run of a workflow, its tasks and what happened to them, so that a run outlives its process.
-- migrate:up

-- One run of a workflow. Every change to the run or to its tasks adds one to the revision, under a compare-and-set.
CREATE TABLE cloacina_pipelines (
    id uuid NOT NULL PRIMARY KEY,
    workflow text NOT NULL,
    state text NOT NULL,
    revision integer NOT NULL,
    input text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz
) WITH (fillfactor = 70);

-- One task of a run. The epoch counts its claims: who holds an older one may not report anything any more.
-- What a task changed in its context is JSON in a text column: the same bytes come back, and NUL characters may be in it.
CREATE TABLE cloacina_tasks (
    pipeline_id uuid NOT NULL,
    task text COLLATE "C" NOT NULL,
    state text NOT NULL,
    epoch integer NOT NULL,
    attempt integer NOT NULL,
    owner uuid,
    queued_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    reason text,
    delta text,
    PRIMARY KEY (pipeline_id, task)
) WITH (fillfactor = 70);

-- The tasks that anyone may claim. A task that is claimed as it becomes ready is never queued, so its row stays out of
-- here and all its updates stay on its page.
CREATE INDEX cloacina_tasks_queued ON cloacina_tasks (queued_at) WHERE queued_at IS NOT NULL;

-- What happened, numbered by the revision it came with.
CREATE TABLE cloacina_events (
    pipeline_id uuid NOT NULL,
    revision integer NOT NULL,
    position integer NOT NULL,
    kind text NOT NULL,
    task text,
    attempt integer NOT NULL,
    at timestamptz NOT NULL,
    detail text,
    PRIMARY KEY (pipeline_id, revision, position)
);

-- migrate:down
DROP TABLE cloacina_events;
DROP TABLE cloacina_tasks;
DROP TABLE cloacina_pipelines;

-- migrate:verify
SELECT to_regclass('cloacina_pipelines') IS NOT NULL
    AND to_regclass('cloacina_tasks') IS NOT NULL
    AND to_regclass('cloacina_events') IS NOT NULL;
