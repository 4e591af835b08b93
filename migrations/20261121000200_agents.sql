-- Agents and everything that hangs on one: invites, keys, assignments, activity, terminals, runs.
-- Creates tables only; takes no lock on existing ones beyond the foreign keys' brief share locks.

CREATE TABLE agent_invites (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name varchar NOT NULL,
    description text,
    -- SHA-256 of the token in hex, for look-up.
    token_hash varchar NOT NULL CONSTRAINT agent_invites_token_hash_key UNIQUE,
    -- The token under AES-256-GCM, for the admins' list; dropped once the invite can admit nobody.
    token_enc bytea,
    token_prefix varchar NOT NULL,
    permissions text[] NOT NULL DEFAULT '{}',
    uses_remaining integer CONSTRAINT agent_invites_uses_remaining_check CHECK (uses_remaining >= 0),
    uses_count integer NOT NULL DEFAULT 0 CONSTRAINT agent_invites_uses_count_check CHECK (uses_count >= 0),
    expires_at timestamptz,
    revoked_at timestamptz,
    revoked_by uuid REFERENCES users (id) ON DELETE SET NULL,
    deleted_at timestamptz,
    created_by uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_agent_invites_workspace ON agent_invites (workspace_id, created_at DESC);

CREATE TABLE parallax_agents (
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    id varchar NOT NULL CONSTRAINT parallax_agents_id_check CHECK (id ~ '^[A-Za-z0-9._:-]{1,128}$'),
    name varchar NOT NULL,
    description text,
    avatar_url varchar,
    capabilities text[] NOT NULL DEFAULT '{}',
    status varchar NOT NULL DEFAULT 'pending'
        CONSTRAINT parallax_agents_status_check CHECK (status IN ('pending', 'approved', 'denied', 'revoked')),
    requested_permissions text[] NOT NULL DEFAULT '{}',
    granted_permissions text[] NOT NULL DEFAULT '{}',
    -- Counts the requests made under this id; an approval names the one that the admin saw.
    request_version integer NOT NULL DEFAULT 1,
    -- SHA-256 of the secret that the requester got, and the key that waits to be claimed with it.
    claim_secret_hash varchar,
    unclaimed_key_enc bytea,
    metadata jsonb NOT NULL DEFAULT '{}',
    endpoint varchar,
    invite_id uuid CONSTRAINT parallax_agents_invite_id_fkey REFERENCES agent_invites (id) ON DELETE SET NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    resolved_by uuid CONSTRAINT parallax_agents_resolved_by_fkey REFERENCES users (id) ON DELETE SET NULL,
    denial_reason text,
    revoked_at timestamptz,
    revoked_by uuid CONSTRAINT parallax_agents_revoked_by_fkey REFERENCES users (id) ON DELETE SET NULL,
    revocation_reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT parallax_agents_pkey PRIMARY KEY (workspace_id, id),
    CONSTRAINT parallax_agents_resolved_check CHECK (status = 'pending' OR resolved_at IS NOT NULL),
    CONSTRAINT parallax_agents_denied_check CHECK (status <> 'denied' OR denial_reason IS NOT NULL),
    CONSTRAINT parallax_agents_revoked_check
        CHECK (status <> 'revoked' OR (revoked_at IS NOT NULL AND granted_permissions = '{}' AND unclaimed_key_enc IS NULL))
);
-- Agent ids differ in more than case within a workspace.
CREATE UNIQUE INDEX parallax_agents_lower_id_key ON parallax_agents (workspace_id, lower(id));
CREATE INDEX idx_parallax_agents_status ON parallax_agents (workspace_id, status, created_at DESC);
CREATE INDEX idx_parallax_agents_capabilities ON parallax_agents USING gin (capabilities);

-- One account per agent and workspace, whatever happened to earlier ones.
CREATE UNIQUE INDEX users_workspace_agent_key ON users (workspace_id, agent_id) WHERE agent_id IS NOT NULL AND deleted_at IS NULL;

CREATE TABLE parallax_agent_assignments (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    agent_id varchar NOT NULL,
    workspace_id uuid NOT NULL,
    assignment_type varchar NOT NULL
        CONSTRAINT parallax_agent_assignments_type_check CHECK (assignment_type IN ('project', 'task')),
    project_id uuid REFERENCES projects (id) ON DELETE CASCADE,
    task_id uuid REFERENCES tasks (id) ON DELETE CASCADE,
    role varchar NOT NULL DEFAULT 'member'
        CONSTRAINT parallax_agent_assignments_role_check CHECK (role IN ('member', 'lead')),
    assigned_at timestamptz NOT NULL DEFAULT now(),
    assigned_by uuid REFERENCES users (id) ON DELETE SET NULL,
    unassigned_at timestamptz,
    CONSTRAINT parallax_agent_assignments_agent_fkey
        FOREIGN KEY (workspace_id, agent_id) REFERENCES parallax_agents (workspace_id, id) ON DELETE CASCADE,
    CONSTRAINT parallax_agent_assignments_target_check CHECK (
        (assignment_type = 'project' AND project_id IS NOT NULL AND task_id IS NULL)
        OR (assignment_type = 'task' AND task_id IS NOT NULL AND project_id IS NULL)
    )
);
CREATE UNIQUE INDEX parallax_agent_assignments_project_key
    ON parallax_agent_assignments (workspace_id, agent_id, project_id) WHERE unassigned_at IS NULL AND project_id IS NOT NULL;
CREATE UNIQUE INDEX parallax_agent_assignments_task_key
    ON parallax_agent_assignments (workspace_id, agent_id, task_id) WHERE unassigned_at IS NULL AND task_id IS NOT NULL;
CREATE INDEX idx_parallax_assignments_project ON parallax_agent_assignments (project_id);
CREATE INDEX idx_parallax_assignments_task ON parallax_agent_assignments (task_id);

-- The audit trail: rows outlive the agent, so agent_id carries no foreign key; NULL for workspace-wide events.
CREATE TABLE parallax_agent_activity (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    agent_id varchar,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    actor_user_id uuid REFERENCES users (id) ON DELETE SET NULL,
    activity_type varchar NOT NULL,
    description text,
    metadata jsonb NOT NULL DEFAULT '{}',
    project_id uuid REFERENCES projects (id) ON DELETE SET NULL,
    task_id uuid REFERENCES tasks (id) ON DELETE SET NULL,
    page_id uuid REFERENCES pages (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_parallax_activity_workspace ON parallax_agent_activity (workspace_id, created_at DESC, id DESC);
CREATE INDEX idx_parallax_activity_agent ON parallax_agent_activity (workspace_id, agent_id, created_at DESC, id DESC);

CREATE TABLE parallax_agent_activity_daily (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    agent_id varchar,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    activity_date date NOT NULL,
    activity_type varchar NOT NULL,
    count integer NOT NULL DEFAULT 0,
    sample_metadata jsonb NOT NULL DEFAULT '[]',
    CONSTRAINT parallax_agent_activity_daily_unique UNIQUE NULLS NOT DISTINCT (workspace_id, agent_id, activity_date, activity_type)
);

CREATE TABLE terminal_sessions (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    agent_id varchar NOT NULL,
    runtime_session_id varchar NOT NULL,
    status varchar NOT NULL DEFAULT 'pending'
        CONSTRAINT terminal_sessions_status_check
        CHECK (status IN ('pending', 'connecting', 'active', 'login_required', 'disconnected', 'terminated')),
    title varchar,
    cols integer NOT NULL DEFAULT 80 CONSTRAINT terminal_sessions_cols_check CHECK (cols BETWEEN 1 AND 1000),
    rows integer NOT NULL DEFAULT 24 CONSTRAINT terminal_sessions_rows_check CHECK (rows BETWEEN 1 AND 500),
    runtime_endpoint varchar,
    login_url varchar,
    last_activity_at timestamptz,
    connected_user_id uuid REFERENCES users (id) ON DELETE SET NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    terminated_at timestamptz,
    CONSTRAINT terminal_sessions_runtime_session_key UNIQUE (workspace_id, runtime_session_id),
    CONSTRAINT terminal_sessions_terminated_check CHECK ((status = 'terminated') = (terminated_at IS NOT NULL))
);
CREATE UNIQUE INDEX terminal_sessions_live_agent_key ON terminal_sessions (workspace_id, agent_id) WHERE terminated_at IS NULL;
CREATE INDEX terminal_sessions_workspace_status_idx ON terminal_sessions (workspace_id, status);

CREATE TABLE terminal_session_logs (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    session_id uuid NOT NULL REFERENCES terminal_sessions (id) ON DELETE CASCADE,
    log_type varchar NOT NULL
        CONSTRAINT terminal_session_logs_type_check CHECK (log_type IN ('stdin', 'stdout', 'stderr', 'system')),
    content text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX terminal_session_logs_session_id_idx ON terminal_session_logs (session_id);

CREATE TABLE coding_workspaces (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    space_id uuid REFERENCES spaces (id) ON DELETE SET NULL,
    experiment_id uuid REFERENCES pages (id) ON DELETE SET NULL,
    repo_url varchar NOT NULL,
    branch varchar NOT NULL,
    worktree_path varchar,
    workspace_type varchar NOT NULL DEFAULT 'worktree',
    base_branch varchar DEFAULT 'main',
    status varchar NOT NULL DEFAULT 'pending'
        CONSTRAINT coding_workspaces_status_check
        CHECK (status IN ('pending', 'provisioning', 'ready', 'finalizing', 'finalized', 'cleaned', 'error')),
    pr_url varchar,
    pr_number integer,
    commit_sha varchar,
    error_message text,
    config jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    provisioned_by uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    cleaned_at timestamptz
);
CREATE INDEX coding_workspaces_workspace_idx ON coding_workspaces (workspace_id);
CREATE INDEX coding_workspaces_experiment_idx ON coding_workspaces (experiment_id);
CREATE INDEX coding_workspaces_status_idx ON coding_workspaces (status);

CREATE TABLE swarm_executions (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    space_id uuid REFERENCES spaces (id) ON DELETE SET NULL,
    experiment_id uuid REFERENCES pages (id) ON DELETE SET NULL,
    coding_workspace_id uuid REFERENCES coding_workspaces (id) ON DELETE SET NULL,
    agent_type varchar NOT NULL DEFAULT 'claude-code',
    agent_id varchar,
    runtime_session_id varchar,
    terminal_session_id uuid REFERENCES terminal_sessions (id) ON DELETE SET NULL,
    task_description text NOT NULL,
    task_context jsonb NOT NULL DEFAULT '{}',
    status varchar NOT NULL DEFAULT 'pending'
        CONSTRAINT swarm_executions_status_check CHECK (status IN (
            'pending', 'provisioning', 'spawning', 'running', 'capturing', 'finalizing', 'completed', 'failed', 'cancelled'
        )),
    output_summary text,
    exit_code integer,
    results jsonb NOT NULL DEFAULT '{}',
    files_changed jsonb NOT NULL DEFAULT '[]',
    started_at timestamptz,
    completed_at timestamptz,
    error_message text,
    config jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    triggered_by uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX swarm_executions_workspace_idx ON swarm_executions (workspace_id);
CREATE INDEX swarm_executions_experiment_idx ON swarm_executions (experiment_id);
CREATE INDEX swarm_executions_status_idx ON swarm_executions (status);
CREATE INDEX swarm_executions_coding_workspace_idx ON swarm_executions (coding_workspace_id);
CREATE INDEX swarm_executions_active_agent_idx ON swarm_executions (agent_id)
    WHERE status IN ('pending', 'provisioning', 'spawning', 'running', 'capturing', 'finalizing');

CREATE TABLE mcp_api_keys (
    id varchar PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name varchar NOT NULL,
    -- SHA-256 of the whole key, in hex. The key has 256 random bits, so no salt is needed.
    hashed_key varchar NOT NULL CONSTRAINT mcp_api_keys_hashed_key_key UNIQUE,
    key_prefix varchar NOT NULL,
    kind varchar NOT NULL DEFAULT 'user' CONSTRAINT mcp_api_keys_kind_check CHECK (kind IN ('user', 'agent', 'swarm')),
    agent_id varchar,
    swarm_execution_id uuid REFERENCES swarm_executions (id) ON DELETE CASCADE,
    permissions text[],
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT mcp_api_keys_agent_fkey
        FOREIGN KEY (workspace_id, agent_id) REFERENCES parallax_agents (workspace_id, id) ON DELETE CASCADE,
    CONSTRAINT mcp_api_keys_owner_check CHECK ((kind = 'agent') <= (agent_id IS NOT NULL))
);
CREATE INDEX mcp_api_keys_user_idx ON mcp_api_keys (user_id);
CREATE INDEX mcp_api_keys_workspace_idx ON mcp_api_keys (workspace_id);
CREATE INDEX mcp_api_keys_agent_idx ON mcp_api_keys (workspace_id, agent_id) WHERE revoked_at IS NULL;

ALTER TABLE parallax_agents ADD COLUMN mcp_api_key_id varchar
    CONSTRAINT parallax_agents_mcp_api_key_id_fkey REFERENCES mcp_api_keys (id) ON DELETE SET NULL;

CREATE TABLE mcp_approvals (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    token_hash varchar NOT NULL CONSTRAINT mcp_approvals_token_hash_key UNIQUE,
    requested_by uuid REFERENCES users (id) ON DELETE CASCADE,
    agent_id varchar,
    method varchar NOT NULL,
    params jsonb NOT NULL,
    params_hash varchar NOT NULL,
    status varchar NOT NULL DEFAULT 'pending'
        CONSTRAINT mcp_approvals_status_check CHECK (status IN ('pending', 'approved', 'rejected', 'consumed', 'expired')),
    expires_at timestamptz NOT NULL,
    decided_by uuid REFERENCES users (id) ON DELETE SET NULL,
    decided_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX mcp_approvals_open_idx ON mcp_approvals (workspace_id, status, expires_at);
