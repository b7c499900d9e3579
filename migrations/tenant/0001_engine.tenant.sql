-- The engine's tables: runs of workflows, what happened to them, and who runs them, so that a run outlives its process.
-- migrate:up

-- One run of a workflow. The runner that has claimed it is the only one to change it; each change adds one to the revision
-- and each claim one to the epoch, under a compare-and-set on both. Text columns hold JSON: the same bytes come back, and
-- NUL characters may be in it.
CREATE TABLE cloacina_pipelines (
    id uuid NOT NULL PRIMARY KEY,
    workflow text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    revision integer NOT NULL,
    epoch integer NOT NULL,
    recoveries integer NOT NULL,
    priority integer NOT NULL,
    owner uuid,
    due_at timestamptz,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    ended_at timestamptz,
    timeout_ms bigint,
    request text,
    idempotency_key text COLLATE "C",
    input text NOT NULL
) WITH (fillfactor = 70);

-- The runs that wait for a runner. One that its caller's runner begins at once is never in here, so all its updates stay on
-- its page.
CREATE INDEX cloacina_pipelines_due ON cloacina_pipelines (priority DESC, due_at, id) WHERE due_at IS NOT NULL;

-- At most one run has a key.
CREATE UNIQUE INDEX cloacina_pipelines_key ON cloacina_pipelines (idempotency_key) WHERE idempotency_key IS NOT NULL;

-- What happened, numbered by the revision it came with. Rows are only ever added. A run is taken up from these: they say what
-- each task came to and what it changed in its context.
CREATE TABLE cloacina_events (
    pipeline_id uuid NOT NULL,
    revision integer NOT NULL,
    position integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    task text COLLATE "C",
    attempt integer NOT NULL,
    worker uuid,
    started_at timestamptz,
    at timestamptz NOT NULL,
    due_at timestamptz,
    detail text,
    delta text,
    PRIMARY KEY (pipeline_id, revision, position)
);

-- The runners with runs of their own. One whose number of beats stays the same has died.
CREATE TABLE cloacina_runners (
    id uuid NOT NULL PRIMARY KEY,
    beats integer NOT NULL,
    seen_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- migrate:down
DROP TABLE cloacina_runners;
DROP TABLE cloacina_events;
DROP TABLE cloacina_pipelines;

-- migrate:verify
SELECT to_regclass('cloacina_pipelines') IS NOT NULL
    AND to_regclass('cloacina_events') IS NOT NULL
    AND to_regclass('cloacina_runners') IS NOT NULL;
