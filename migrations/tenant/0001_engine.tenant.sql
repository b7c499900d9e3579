-- The engine's tables: pipelines, their histories, and the runners, so that a pipeline outlives its process.
-- migrate:up

-- One row per pipeline. The runner that has claimed it is the only one to change it; each change adds one to the revision
-- and each claim one to the epoch, under a compare-and-set on both. Text columns hold JSON: the same bytes come back. The
-- checks bind whoever writes here, the tenant too: what a runner reads is never beyond them.
CREATE TABLE cloacina_pipelines (
    id uuid NOT NULL PRIMARY KEY,
    workflow text COLLATE "C" NOT NULL,
    -- No blank, which ends it in the name of a lane.
    version text COLLATE "C" NOT NULL,
    -- A row of a higher format than a runner knows is left to newer runners.
    format integer NOT NULL,
    state text COLLATE "C" NOT NULL,
    revision integer NOT NULL,
    epoch integer NOT NULL,
    recoveries integer NOT NULL,
    priority integer NOT NULL,
    owner uuid,
    due_at timestamptz,
    created_at timestamptz NOT NULL,
    -- NULL as long as no task has a line in the history: such a pipeline begins with the newest version of its workflow.
    started_at timestamptz,
    ended_at timestamptz,
    timeout_ms bigint,
    request text,
    idempotency_key text COLLATE "C",
    parent_id uuid,
    depth integer NOT NULL,
    input text NOT NULL,
    -- What the pipeline handed back and how each task ended, from its end on: readable without the workflow's code.
    output text,
    outcomes text,
    -- One, because the server reads each of a table's checks anew for every statement.
    CONSTRAINT cloacina_pipelines_bounds CHECK (
        octet_length(workflow) <= 1000
        AND octet_length(version) BETWEEN 1 AND 200 AND strpos(version, ' ') = 0
        AND format BETWEEN 1 AND 1000000
        AND state IN ('running', 'completed', 'queued', 'failed', 'paused', 'cancelled')
        AND revision BETWEEN 1 AND 1000000000
        AND epoch BETWEEN 0 AND 1000000000
        AND recoveries BETWEEN 0 AND 1000000000
        AND timeout_ms >= 0
        AND request IN ('cancel', 'pause', 'resume')
        AND octet_length(idempotency_key) <= 2000
        AND depth BETWEEN 0 AND 1000000
        AND octet_length(input) <= 16777216
        AND octet_length(output) <= 67108864
        AND octet_length(outcomes) <= 67108864
    )
) WITH (fillfactor = 70);

-- The pipelines that wait for a runner, by what decides who may take them: a runner reads only what it can take, however much
-- else waits. One that its caller's runner begins at once is never in here.
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

-- The children of a pipeline, in the order in which they are gone through.
CREATE INDEX cloacina_pipelines_parent ON cloacina_pipelines (parent_id, id) WHERE parent_id IS NOT NULL;

-- The history, numbered by the revision that each line came with. Rows are only ever added. A pipeline is taken up from these:
-- they say what each task came to and what it changed in its context.
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
    reason text COLLATE "C",
    detail text,
    delta text,
    PRIMARY KEY (pipeline_id, revision, position),
    -- One, because the server reads each of a table's checks anew for every statement.
    CONSTRAINT cloacina_events_bounds CHECK (
        revision BETWEEN 1 AND 1000000000
        AND position BETWEEN 0 AND 1000000000
        AND kind IN (
            'task completed', 'pipeline started', 'pipeline completed', 'pipeline queued', 'task failed', 'task skipped',
            'task retrying', 'pipeline failed', 'task started', 'task interrupted', 'pipeline recovered', 'pipeline released',
            'pipeline paused', 'pipeline resumed', 'pipeline continued', 'pipeline cancelling', 'pipeline timed out',
            'pipeline cancelled')
        AND octet_length(task) <= 4000
        AND attempt BETWEEN 0 AND 1000000000
        AND octet_length(reason) <= 100
        AND octet_length(detail) <= 2000000
        AND octet_length(delta) <= 16777216
    )
);

-- The completions that were committed with tasks' own writes and that no transition has folded into the history yet.
CREATE TABLE cloacina_task_commits (
    pipeline_id uuid NOT NULL,
    task text COLLATE "C" NOT NULL,
    epoch integer NOT NULL,
    attempt integer NOT NULL,
    worker uuid,
    started_at timestamptz,
    at timestamptz NOT NULL,
    delta text,
    PRIMARY KEY (pipeline_id, task),
    -- One, because the server reads each of a table's checks anew for every statement.
    CONSTRAINT cloacina_task_commits_bounds CHECK (
        octet_length(task) <= 4000
        AND epoch BETWEEN 0 AND 1000000000
        AND attempt BETWEEN 0 AND 1000000000
        AND octet_length(delta) <= 16777216
    )
);

-- The runners with pipelines of their own. One whose number of beats stays the same has died; one that was stopping when it did
-- was ended from outside.
CREATE TABLE cloacina_runners (
    id uuid NOT NULL PRIMARY KEY,
    beats integer NOT NULL,
    seen_at timestamptz NOT NULL,
    is_stopping boolean NOT NULL
) WITH (fillfactor = 50);

-- The word by which the runners of this schema call each other on a channel that everybody on the server can hear.
CREATE TABLE cloacina_wakeups (
    id integer NOT NULL PRIMARY KEY CHECK (id = 1),
    token text COLLATE "C" NOT NULL CHECK (octet_length(token) BETWEEN 32 AND 100)
);
INSERT INTO cloacina_wakeups (id, token) VALUES (1, gen_random_uuid()::text);

-- migrate:down
DROP TABLE cloacina_wakeups;
DROP TABLE cloacina_runners;
DROP TABLE cloacina_task_commits;
DROP TABLE cloacina_events;
DROP TABLE cloacina_pipelines;

-- migrate:verify
SELECT to_regclass('cloacina_pipelines') IS NOT NULL
    AND to_regclass('cloacina_events') IS NOT NULL
    AND to_regclass('cloacina_task_commits') IS NOT NULL
    AND to_regclass('cloacina_runners') IS NOT NULL
    AND to_regclass('cloacina_wakeups') IS NOT NULL;
