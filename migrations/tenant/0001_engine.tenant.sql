-- The engine's tables: pipelines, their histories, and the runners, so that a pipeline outlives its process. Only the engine's
-- role reads and writes them; the views and functions at the end are what the tenant's own logins have.
-- migrate:up

-- What the columns may hold, which binds whoever writes here, the tenant too: what a runner reads is never beyond it. Domains,
-- because the server keeps their checks ready: those of a table it parses anew for every statement, which costs more than all
-- else of a step.
CREATE DOMAIN cloacina_count AS integer CHECK (VALUE BETWEEN 0 AND 1000000000);
CREATE DOMAIN cloacina_revision AS integer CHECK (VALUE BETWEEN 1 AND 1000000000);
CREATE DOMAIN cloacina_format AS integer CHECK (VALUE BETWEEN 1 AND 1000000);
CREATE DOMAIN cloacina_depth AS integer CHECK (VALUE BETWEEN 0 AND 1000000);
CREATE DOMAIN cloacina_milliseconds AS bigint CHECK (VALUE >= 0);
CREATE DOMAIN cloacina_workflow_name AS text COLLATE "C" CHECK (octet_length(VALUE) <= 1000);
-- No blank, which ends it in the name of a lane.
CREATE DOMAIN cloacina_workflow_version AS text COLLATE "C"
    CHECK (octet_length(VALUE) BETWEEN 1 AND 200 AND strpos(VALUE, ' ') = 0);
CREATE DOMAIN cloacina_state AS text COLLATE "C"
    CHECK (VALUE IN ('running', 'completed', 'queued', 'failed', 'paused', 'cancelled'));
CREATE DOMAIN cloacina_request AS text COLLATE "C" CHECK (VALUE IN ('cancel', 'pause', 'resume'));
CREATE DOMAIN cloacina_key AS text COLLATE "C" CHECK (octet_length(VALUE) <= 2000);
CREATE DOMAIN cloacina_task_name AS text COLLATE "C" CHECK (octet_length(VALUE) <= 4000);
CREATE DOMAIN cloacina_event_kind AS text COLLATE "C" CHECK (VALUE IN (
    'task completed', 'pipeline started', 'pipeline completed', 'pipeline queued', 'task failed', 'task skipped',
    'task retrying', 'pipeline failed', 'task started', 'task interrupted', 'pipeline recovered', 'pipeline released',
    'pipeline paused', 'pipeline resumed', 'pipeline continued', 'pipeline cancelling', 'pipeline timed out',
    'pipeline cancelled'));
CREATE DOMAIN cloacina_reason AS text COLLATE "C" CHECK (octet_length(VALUE) <= 100);
CREATE DOMAIN cloacina_detail AS text CHECK (octet_length(VALUE) <= 2000000);
CREATE DOMAIN cloacina_value AS text CHECK (octet_length(VALUE) <= 16777216);
CREATE DOMAIN cloacina_result AS text CHECK (octet_length(VALUE) <= 67108864);

-- One row per pipeline. The runner that has claimed it is the only one to change it; each change adds one to the revision
-- and each claim one to the epoch, under a compare-and-set on both. Text columns hold JSON: the same bytes come back.
CREATE TABLE cloacina_pipelines (
    id uuid NOT NULL PRIMARY KEY,
    workflow cloacina_workflow_name NOT NULL,
    version cloacina_workflow_version NOT NULL,
    -- A row of a higher format than a runner knows is left to newer runners.
    format cloacina_format NOT NULL,
    state cloacina_state NOT NULL,
    revision cloacina_revision NOT NULL,
    epoch cloacina_count NOT NULL,
    recoveries cloacina_count NOT NULL,
    priority integer NOT NULL,
    owner uuid,
    due_at timestamptz,
    created_at timestamptz NOT NULL,
    -- NULL as long as no task has a line in the history: such a pipeline begins with the newest version of its workflow.
    started_at timestamptz,
    ended_at timestamptz,
    timeout_ms cloacina_milliseconds,
    request cloacina_request,
    idempotency_key cloacina_key,
    parent_id uuid,
    depth cloacina_depth NOT NULL,
    input cloacina_value NOT NULL,
    -- What the pipeline handed back and how each task ended, from its end on: readable without the workflow's code.
    output cloacina_result,
    outcomes cloacina_result
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
    revision cloacina_revision NOT NULL,
    position cloacina_count NOT NULL,
    kind cloacina_event_kind NOT NULL,
    task cloacina_task_name,
    attempt cloacina_count NOT NULL,
    worker uuid,
    started_at timestamptz,
    at timestamptz NOT NULL,
    due_at timestamptz,
    reason cloacina_reason,
    detail cloacina_detail,
    delta cloacina_value,
    PRIMARY KEY (pipeline_id, revision, position)
);

-- The completions that were committed with tasks' own writes and that no transition has folded into the history yet.
CREATE TABLE cloacina_task_commits (
    pipeline_id uuid NOT NULL,
    task cloacina_task_name NOT NULL,
    epoch cloacina_count NOT NULL,
    attempt cloacina_count NOT NULL,
    worker uuid,
    started_at timestamptz,
    at timestamptz NOT NULL,
    delta cloacina_value,
    PRIMARY KEY (pipeline_id, task)
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

-- What a tenant sees of its pipelines: no inputs, outputs or changes of contexts, and no runner's word. Two things in FROM, or a
-- DISTINCT, keep a view from being written through with its owner's rights.
CREATE VIEW cloacina_pipeline_list AS
SELECT p.id, p.workflow, p.version, p.state, p.priority, p.created_at, p.started_at, p.ended_at, p.due_at, p.request,
    p.recoveries, p.parent_id, e.detail AS last_error
FROM cloacina_pipelines AS p
LEFT JOIN LATERAL (
    SELECT happened.detail FROM cloacina_events AS happened
    WHERE happened.pipeline_id = p.id AND happened.detail IS NOT NULL
        AND happened.kind IN ('task failed', 'task retrying', 'pipeline failed', 'pipeline timed out')
    ORDER BY happened.revision DESC, happened.position DESC LIMIT 1
) AS e ON true;

-- Every line of every history, and the completions that no runner has folded in yet, without what changed in the context.
CREATE VIEW cloacina_pipeline_events AS
SELECT pipeline_id, revision, position, kind, task, attempt, started_at, at, due_at, reason, detail FROM cloacina_events
UNION ALL
SELECT pipeline_id, NULL, NULL, 'task completed', task, attempt, started_at, at, NULL, NULL, NULL FROM cloacina_task_commits;

-- The newest line of each task that has one: how it stands, or how it ended.
CREATE VIEW cloacina_pipeline_tasks AS
SELECT DISTINCT ON (pipeline_id, task) pipeline_id, task, kind, attempt, started_at, at, due_at, reason, detail AS error
FROM cloacina_pipeline_events WHERE task IS NOT NULL
ORDER BY pipeline_id, task, attempt DESC, revision DESC NULLS FIRST, position DESC;

-- Puts a pipeline into the queue as the library does, in the caller's own transaction; answers its id, or that of the pipeline of
-- the same workflow and input that has the key. The rows are the owner's to write, never the caller's.
CREATE FUNCTION cloacina_enqueue(
    workflow text, input jsonb DEFAULT '{}', priority integer DEFAULT 0, delay interval DEFAULT '0',
    timeout interval DEFAULT NULL, idempotency_key text DEFAULT NULL
) RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $function$
#variable_conflict use_column
DECLARE
    name CONSTANT text := cloacina_enqueue.workflow;
    own_key CONSTANT text := cloacina_enqueue.idempotency_key;
    text_of_input CONSTANT text := cloacina_enqueue.input::text;
    created CONSTANT timestamptz := clock_timestamp();
    due CONSTANT timestamptz := created + coalesce(cloacina_enqueue.delay, '0'::interval);
    micros CONSTANT bigint := (extract(epoch FROM created) * 1000000)::bigint;
    timeout_of_run CONSTANT numeric := ceil(extract(epoch FROM cloacina_enqueue.timeout) * 1000);
    -- Version 7: 48 bits of milliseconds, 12 bits of their 4,096th parts, 62 bits at random.
    new_id CONSTANT uuid := (
        lpad(to_hex(micros / 1000), 12, '0') || '7' || lpad(to_hex(micros % 1000 * 4096 / 1000), 3, '0')
        || substr(replace(gen_random_uuid()::text, '-', ''), 17))::uuid;
    holder record;
BEGIN
    IF name IS NULL OR name = '' OR octet_length(name) > 1000 THEN
        RAISE EXCEPTION 'a workflow''s name has 1 to 1,000 bytes' USING ERRCODE = 'invalid_parameter_value';
    ELSIF jsonb_typeof(cloacina_enqueue.input) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'the input must be a JSON object, such as {"day": "2026-11-23"}'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF octet_length(text_of_input) > 16777216 THEN
        RAISE EXCEPTION 'the input has % bytes; 16,777,216 are allowed', octet_length(text_of_input)
            USING ERRCODE = 'program_limit_exceeded';
    ELSIF jsonb_path_exists(cloacina_enqueue.input, 'strict $.**{201}')
        OR jsonb_path_exists(cloacina_enqueue.input, 'strict $.** ? (@.type() == "number" && (@ > 1e308 || @ < -1e308
            || @ > -1e-307 && @ < 1e-307 && @ != 0))') THEN
        RAISE EXCEPTION 'the input is nested deeper than 200 levels, or has a number that no double can hold'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF due < created OR due > created + '100 years'::interval THEN
        RAISE EXCEPTION 'the delay must be from 0 to 100 years' USING ERRCODE = 'invalid_parameter_value';
    ELSIF timeout_of_run NOT BETWEEN 0 AND 3155760000000 THEN
        RAISE EXCEPTION 'the timeout must be from 0 to 100 years' USING ERRCODE = 'invalid_parameter_value';
    ELSIF octet_length(own_key) > 2000 THEN
        RAISE EXCEPTION 'the idempotency key has % bytes; 2,000 are allowed', octet_length(own_key)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    LOOP
        -- The version is that of whoever begins it.
        INSERT INTO cloacina_pipelines (id, workflow, version, format, state, revision, epoch, recoveries, priority, due_at,
            created_at, timeout_ms, idempotency_key, depth, input)
        VALUES (new_id, name, 'newest', 1, 'queued', 1, 0, 0, coalesce(cloacina_enqueue.priority, 0), due, created,
            timeout_of_run::bigint, own_key, 0, text_of_input)
        ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
        -- The library takes a NUL in an input, which no jsonb can hold.
        SELECT p.id, p.workflow = name AND p.parent_id IS NULL AND
            CASE WHEN strpos(p.input, '\u0000') = 0 OR p.input !~ '(^|[^\\])(\\\\)*\\u0000'
            THEN p.input::jsonb = cloacina_enqueue.input ELSE false END AS is_same
        INTO holder FROM cloacina_pipelines AS p WHERE p.idempotency_key = own_key;
        -- Without one, what was in its way has been deleted since.
        CONTINUE WHEN NOT FOUND;
        IF holder.is_same THEN RETURN holder.id; END IF;
        RAISE EXCEPTION 'the idempotency key belongs to the pipeline %, of another workflow or with another input', holder.id
            USING ERRCODE = 'unique_violation', HINT = 'Give the same workflow and input, or take another key.';
    END LOOP;
    INSERT INTO cloacina_events (pipeline_id, revision, position, kind, attempt, at, due_at)
    VALUES (new_id, 1, 0, 'pipeline queued', 0, created, due);
    -- Delivered with the commit. Every login can fill the server's queue of calls, and a commit that calls fails then; without a
    -- call, a sweep finds it.
    PERFORM pg_notify('cloacina_queue', ceil(extract(epoch FROM due - created) * 1000)::bigint || ' ' || token)
    FROM cloacina_wakeups WHERE id = 1 AND pg_notification_queue_usage() < 0.5;
    RETURN new_id;
END
$function$;

-- Asks for a cancel, a pause or a resume, as the library asks another process's runner: whoever has the pipeline hears it with its
-- heartbeat, and of one that nobody has, a sweep. Answers the state that it was found in.
CREATE FUNCTION cloacina_signal(pipeline uuid, request text)
RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $function$
#variable_conflict use_column
DECLARE
    wanted CONSTANT text := cloacina_signal.request;
    found_state text;
BEGIN
    IF wanted IS NULL OR wanted NOT IN ('cancel', 'pause', 'resume') THEN
        RAISE EXCEPTION 'a request is cancel, pause or resume' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT p.state INTO found_state FROM cloacina_pipelines AS p WHERE p.id = cloacina_signal.pipeline FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no pipeline %', cloacina_signal.pipeline USING ERRCODE = 'no_data_found';
    ELSIF found_state IN ('completed', 'failed', 'cancelled') THEN
        IF wanted = 'cancel' THEN RETURN found_state; END IF;
        RAISE EXCEPTION 'the pipeline has ended: %', found_state USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    -- A cancel is the last word; and of what stands still, asking for what it does already changes nothing.
    UPDATE cloacina_pipelines AS p SET request = CASE
            WHEN found_state = 'paused' AND wanted = 'pause' OR found_state = 'queued' AND wanted = 'resume' THEN NULL
            ELSE wanted END
    WHERE p.id = cloacina_signal.pipeline AND p.request IS DISTINCT FROM 'cancel';
    PERFORM pg_notify('cloacina_queue', '0 ' || token)
    FROM cloacina_wakeups WHERE id = 1 AND pg_notification_queue_usage() < 0.5;
    RETURN found_state;
END
$function$;

-- migrate:down
DROP FUNCTION cloacina_signal(uuid, text);
DROP FUNCTION cloacina_enqueue(text, jsonb, integer, interval, interval, text);
DROP VIEW cloacina_pipeline_tasks;
DROP VIEW cloacina_pipeline_events;
DROP VIEW cloacina_pipeline_list;
DROP TABLE cloacina_wakeups;
DROP TABLE cloacina_runners;
DROP TABLE cloacina_task_commits;
DROP TABLE cloacina_events;
DROP TABLE cloacina_pipelines;
DROP DOMAIN cloacina_result;
DROP DOMAIN cloacina_value;
DROP DOMAIN cloacina_detail;
DROP DOMAIN cloacina_reason;
DROP DOMAIN cloacina_event_kind;
DROP DOMAIN cloacina_task_name;
DROP DOMAIN cloacina_key;
DROP DOMAIN cloacina_request;
DROP DOMAIN cloacina_state;
DROP DOMAIN cloacina_workflow_version;
DROP DOMAIN cloacina_workflow_name;
DROP DOMAIN cloacina_milliseconds;
DROP DOMAIN cloacina_depth;
DROP DOMAIN cloacina_format;
DROP DOMAIN cloacina_revision;
DROP DOMAIN cloacina_count;

-- migrate:verify
SELECT to_regclass('cloacina_pipelines') IS NOT NULL
    AND to_regclass('cloacina_events') IS NOT NULL
    AND to_regclass('cloacina_task_commits') IS NOT NULL
    AND to_regclass('cloacina_runners') IS NOT NULL
    AND to_regclass('cloacina_wakeups') IS NOT NULL
    AND to_regclass('cloacina_pipeline_list') IS NOT NULL
    AND to_regclass('cloacina_pipeline_events') IS NOT NULL
    AND to_regclass('cloacina_pipeline_tasks') IS NOT NULL
    AND to_regprocedure('cloacina_enqueue(text, jsonb, integer, interval, interval, text)') IS NOT NULL
    AND to_regprocedure('cloacina_signal(uuid, text)') IS NOT NULL;
