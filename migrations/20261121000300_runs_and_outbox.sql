-- Runs (one process of a spawned agent on a runtime) and the outbox. Creates tables only.

CREATE TABLE agent_runs (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    workspace_id uuid NOT NULL,
    agent_id varchar NOT NULL,
    agent_type varchar NOT NULL,
    -- Base URL of the runtime, and what the agent is called there.
    runtime_endpoint varchar NOT NULL,
    runtime_agent_id varchar NOT NULL,
    runtime_session_id varchar,
    terminal_session_id uuid REFERENCES terminal_sessions (id) ON DELETE SET NULL,
    status varchar NOT NULL DEFAULT 'spawning' CONSTRAINT agent_runs_status_check
        CHECK (status IN ('spawning', 'starting', 'login_required', 'ready', 'stopped', 'failed')),
    -- Size of the terminal that the process starts with.
    cols integer NOT NULL DEFAULT 80 CONSTRAINT agent_runs_cols_check CHECK (cols BETWEEN 1 AND 1000),
    rows integer NOT NULL DEFAULT 24 CONSTRAINT agent_runs_rows_check CHECK (rows BETWEEN 1 AND 500),
    login_url varchar,
    exit_code integer,
    reason text,
    requested_by uuid REFERENCES users (id) ON DELETE SET NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    ready_at timestamptz,
    -- Set when somebody asked for the end; the stopper goes on until the runtime confirms it.
    stop_requested_at timestamptz,
    stopped_at timestamptz,
    CONSTRAINT agent_runs_agent_fkey
        FOREIGN KEY (workspace_id, agent_id) REFERENCES parallax_agents (workspace_id, id) ON DELETE CASCADE,
    CONSTRAINT agent_runs_runtime_agent_key UNIQUE (runtime_endpoint, runtime_agent_id),
    CONSTRAINT agent_runs_stopped_check CHECK ((status IN ('stopped', 'failed')) = (stopped_at IS NOT NULL))
);
CREATE UNIQUE INDEX agent_runs_live_agent_key ON agent_runs (workspace_id, agent_id) WHERE stopped_at IS NULL;
CREATE INDEX agent_runs_agent_idx ON agent_runs (workspace_id, agent_id, started_at DESC);
CREATE INDEX agent_runs_stopping_idx ON agent_runs (stop_requested_at) WHERE stop_requested_at IS NOT NULL AND stopped_at IS NULL;

-- Every event in the order of its commit: writers hold one advisory lock from the insert to the commit,
-- so a reader that has seen `seq` n never misses a smaller one. Readers keep their own position.
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT outbox_pkey PRIMARY KEY,
    -- The event's id on every channel; the same as the activity row's where there is one.
    event_id uuid NOT NULL CONSTRAINT outbox_event_id_key UNIQUE,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    agent_id varchar,
    name varchar NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_created_at_idx ON outbox (created_at);
