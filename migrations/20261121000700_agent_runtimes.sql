-- Several runtimes per workspace, and what is known of how each of them is. Creates tables, a function and
-- triggers, adds a column with a constant default to agent_runs and replaces its unique constraint: an exclusive
-- lock on agent_runs while two indexes over it are built, a brief share row exclusive lock on workspaces.

-- Runtimes that a workspace's admins named. The operator's own needs no row and is called `default`; the one
-- from the workspace's settings is called `custom`.
CREATE TABLE agent_runtimes (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name varchar NOT NULL CONSTRAINT agent_runtimes_name_check
        CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,39}$' AND name NOT IN ('default', 'custom')),
    endpoint varchar NOT NULL,
    -- Its bearer token under AES-256-GCM.
    token_enc bytea,
    -- Agent types that it takes; empty: all.
    kinds varchar[] NOT NULL DEFAULT '{}',
    -- Agents that it takes at the same time; null: as many as there are.
    agents_max integer CONSTRAINT agent_runtimes_agents_max_check CHECK (agents_max BETWEEN 1 AND 10000),
    -- Whether new agents are spawned there.
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agent_runtimes_name_key UNIQUE (workspace_id, name)
);

-- What was last heard of a runtime. Rows of no workspace are about the operator's own runtime, which all share.
CREATE TABLE agent_runtime_health (
    workspace_id uuid REFERENCES workspaces (id) ON DELETE CASCADE,
    name varchar NOT NULL,
    state varchar NOT NULL DEFAULT 'unknown' CONSTRAINT agent_runtime_health_state_check CHECK (state IN ('unknown', 'online', 'offline')),
    -- When it came into this state.
    since timestamptz NOT NULL DEFAULT now(),
    last_contact_at timestamptz,
    last_heartbeat_at timestamptz,
    version varchar,
    active_agents integer
);
CREATE UNIQUE INDEX agent_runtime_health_key
    ON agent_runtime_health ((coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'::uuid)), name);

ALTER TABLE agent_runs ADD COLUMN runtime varchar NOT NULL DEFAULT 'default';
-- A runtime of a workspace's own chooses its agents' names by itself, whatever others are called elsewhere.
ALTER TABLE agent_runs DROP CONSTRAINT agent_runs_runtime_agent_key;
CREATE UNIQUE INDEX agent_runs_runtime_agent_key ON agent_runs (runtime_endpoint, runtime_agent_id) WHERE runtime = 'default';
CREATE UNIQUE INDEX agent_runs_own_runtime_agent_key ON agent_runs (workspace_id, runtime, runtime_endpoint, runtime_agent_id);
CREATE INDEX agent_runs_live_runtime_idx ON agent_runs (runtime, workspace_id) WHERE stopped_at IS NULL;

-- Every node follows the runtimes that are known now: whoever changes which they are, tells all.
CREATE FUNCTION raven_runtimes_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('raven_runtimes', '');
    RETURN NULL;
END $$;
CREATE TRIGGER raven_runtime_changed AFTER INSERT OR UPDATE OR DELETE ON agent_runtimes
    FOR EACH STATEMENT EXECUTE FUNCTION raven_runtimes_changed();
CREATE TRIGGER raven_workspace_runtime_changed AFTER UPDATE ON workspaces FOR EACH ROW
    WHEN (OLD.deleted_at IS DISTINCT FROM NEW.deleted_at
          OR OLD.settings #> '{agent,hostingMode}' IS DISTINCT FROM NEW.settings #> '{agent,hostingMode}'
          OR OLD.settings #> '{agent,runtimeEndpoint}' IS DISTINCT FROM NEW.settings #> '{agent,runtimeEndpoint}'
          OR OLD.settings #> '{agent,runtimeAuthType}' IS DISTINCT FROM NEW.settings #> '{agent,runtimeAuthType}'
          OR OLD.settings #> '{agent,runtimeApiKeySealed}' IS DISTINCT FROM NEW.settings #> '{agent,runtimeApiKeySealed}')
    EXECUTE FUNCTION raven_runtimes_changed();
