-- The registry of tenants, their credentials' metadata, the ledger of operations and the audit trail: what the
-- administrator decides on. The administrator owns it; nothing is granted to anyone else. The table of leases, by which
-- operations exclude each other, is there before: making this excludes others too.
-- migrate:up
CREATE TABLE installation (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    tenants_role text NOT NULL,
    service_role text NOT NULL,
    -- The role that the service login's name stood for; after a restore it may stand for a stranger's.
    service_role_oid oid NOT NULL,
    bootstrapped_at timestamptz NOT NULL DEFAULT now(),
    bootstrapped_by text NOT NULL DEFAULT session_user
);

-- schema_oid and role_oids (owner, runtime, engine, a, b) are null until the tenant's objects are committed. Objects are
-- compared by them, never by name: a name can be somebody else's by now.
CREATE TABLE tenants (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    schema_name text NOT NULL UNIQUE,
    schema_oid oid,
    owner_role text NOT NULL,
    runtime_role text NOT NULL,
    engine_role text NOT NULL,
    -- Whether the logins may run the tenant's runners: then they are members of the engine's role.
    engine_access boolean NOT NULL DEFAULT false,
    login_a text NOT NULL,
    login_b text NOT NULL,
    role_oids oid[],
    -- The database that the tenant was created in or adopted by, null until then. A copy has its row, and another OID.
    database_oid oid,
    state text NOT NULL CHECK (state IN ('creating', 'active', 'removing')),
    version integer NOT NULL DEFAULT 0,
    -- What each login may use; null leaves it to the server's settings.
    connection_limit integer,
    statement_timeout_ms integer,
    lock_timeout_ms integer,
    idle_in_transaction_timeout_ms integer,
    temporary_file_kb integer,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT session_user
);

-- The newest version of each further set of migrations, by its source.
CREATE TABLE tenant_versions (
    tenant_id uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    source text NOT NULL,
    version integer NOT NULL,
    PRIMARY KEY (tenant_id, source)
);

-- Who was given which login, and when. Never a secret.
CREATE TABLE credentials (
    tenant_id uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('a', 'b')),
    login text NOT NULL,
    state text NOT NULL CHECK (state IN ('active', 'standby')),
    issued_at timestamptz,
    issued_by text,
    PRIMARY KEY (tenant_id, kind)
);

-- One row per step of every operation; what is 'started' and has no session behind it was interrupted there.
CREATE TABLE operations (
    operation_id uuid NOT NULL,
    position integer NOT NULL,
    tenant_name text NOT NULL,
    kind text NOT NULL,
    step text NOT NULL,
    state text NOT NULL CHECK (state IN ('started', 'done', 'failed')),
    sqlstate text,
    detail text,
    -- The SHA-256 of a password of 256 random bits that the operation makes known: which file holds it. Null for a password
    -- that was thought up, which could be guessed from it.
    secret_digest text,
    actor text NOT NULL DEFAULT session_user,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    PRIMARY KEY (operation_id, position)
);

CREATE INDEX operations_open ON operations (tenant_name) WHERE state = 'started';

CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL DEFAULT session_user,
    application text NOT NULL DEFAULT current_setting('application_name'),
    client text DEFAULT host(inet_client_addr()),
    action text NOT NULL,
    tenant_name text,
    operation_id uuid,
    detail text
);
