-- A database as the original's own migrations leave it (REST contract §3), with the rows that are hard to take over.
-- Times are fixed, ids speak: workspaces start with 1 and 2, people with a, accounts of agents with b.

CREATE FUNCTION gen_uuid_v7() RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    milliseconds bigint := floor(extract(epoch FROM clock_timestamp()) * 1000);
    digits text := lpad(to_hex(milliseconds), 12, '0') || '7' || substr(md5(random()::text), 1, 3)
        || to_hex(8 + floor(random() * 4)::int) || substr(md5(random()::text), 1, 15);
BEGIN
    RETURN digits::uuid;
END $$;

CREATE TYPE task_status AS ENUM ('todo', 'in_progress', 'in_review', 'done', 'blocked');
CREATE TYPE task_priority AS ENUM ('low', 'medium', 'high', 'urgent');
CREATE TYPE task_bucket AS ENUM ('none', 'inbox', 'waiting', 'someday');
CREATE TYPE parallax_agent_status AS ENUM ('pending', 'approved', 'denied', 'revoked');
CREATE TYPE parallax_assignment_type AS ENUM ('project', 'task');
CREATE TYPE parallax_agent_role AS ENUM ('member', 'lead');
CREATE TYPE terminal_session_status AS ENUM ('pending', 'connecting', 'active', 'login_required', 'disconnected', 'terminated');

-- Tables of the knowledge base. What this service never reads is there too, as some of it.

CREATE TABLE workspaces (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    name varchar, description varchar, logo varchar,
    hostname varchar UNIQUE, custom_domain varchar UNIQUE,
    settings jsonb, default_role varchar NOT NULL DEFAULT 'member', email_domains varchar[] DEFAULT '{}', default_space_id uuid,
    status varchar, plan varchar, license_key varchar, stripe_customer_id varchar, billing_email varchar,
    enforce_sso boolean NOT NULL DEFAULT false, trial_end_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), deleted_at timestamptz
);
CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    name varchar, email varchar NOT NULL, email_verified_at timestamptz, password varchar, avatar_url varchar, role varchar,
    invited_by_id uuid REFERENCES users (id) ON DELETE SET NULL,
    workspace_id uuid REFERENCES workspaces (id) ON DELETE CASCADE,
    locale varchar, timezone varchar, settings jsonb, scim_external_id text,
    last_active_at timestamptz, last_login_at timestamptz, deactivated_at timestamptz, agent_id varchar,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), deleted_at timestamptz,
    CONSTRAINT users_email_workspace_id_unique UNIQUE (email, workspace_id)
);
CREATE INDEX users_agent_id_idx ON users (agent_id) WHERE agent_id IS NOT NULL;
CREATE TABLE groups (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), name varchar NOT NULL, description text, is_default boolean NOT NULL,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE, creator_id uuid REFERENCES users (id),
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), deleted_at timestamptz,
    CONSTRAINT groups_name_workspace_id_unique UNIQUE (name, workspace_id)
);
CREATE TABLE group_users (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE, group_id uuid NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT group_users_group_id_user_id_unique UNIQUE (group_id, user_id)
);
CREATE TABLE spaces (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), name varchar, description text, slug varchar NOT NULL, logo varchar,
    visibility varchar NOT NULL DEFAULT 'private', default_role varchar NOT NULL DEFAULT 'writer', creator_id uuid REFERENCES users (id),
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), deleted_at timestamptz,
    CONSTRAINT spaces_slug_workspace_id_unique UNIQUE (slug, workspace_id)
);
ALTER TABLE workspaces ADD CONSTRAINT workspaces_default_space_id_fkey FOREIGN KEY (default_space_id) REFERENCES spaces (id) ON DELETE SET NULL;
CREATE TABLE space_members (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), user_id uuid REFERENCES users (id) ON DELETE CASCADE,
    group_id uuid REFERENCES groups (id) ON DELETE CASCADE, space_id uuid NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    role varchar NOT NULL, added_by_id uuid REFERENCES users (id),
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), deleted_at timestamptz,
    CONSTRAINT space_members_space_id_user_id_unique UNIQUE (space_id, user_id),
    CONSTRAINT space_members_space_id_group_id_unique UNIQUE (space_id, group_id),
    CONSTRAINT allow_either_user_id_or_group_id_check CHECK ((user_id IS NOT NULL AND group_id IS NULL) OR (user_id IS NULL AND group_id IS NOT NULL))
);
CREATE TABLE pages (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), slug_id varchar NOT NULL UNIQUE, title varchar, icon varchar, cover_photo varchar,
    position varchar, content jsonb, ydoc bytea, text_content text, tsv tsvector,
    parent_page_id uuid REFERENCES pages (id) ON DELETE CASCADE, creator_id uuid REFERENCES users (id),
    last_updated_by_id uuid REFERENCES users (id), deleted_by_id uuid REFERENCES users (id),
    space_id uuid NOT NULL REFERENCES spaces (id) ON DELETE CASCADE, workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    is_locked boolean NOT NULL DEFAULT false, contributor_ids uuid[] DEFAULT '{}', agent_accessible boolean DEFAULT true,
    page_type varchar(50), metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), deleted_at timestamptz
);
CREATE INDEX idx_pages_agent_accessible ON pages (agent_accessible);
CREATE INDEX pages_tsv_idx ON pages USING gin (tsv);
CREATE FUNCTION pages_tsvector_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.tsv := setweight(to_tsvector('english', coalesce(NEW.title, '')), 'A') || setweight(to_tsvector('english', coalesce(NEW.text_content, '')), 'B');
    RETURN NEW;
END $$;
CREATE TRIGGER pages_tsvector_update BEFORE INSERT OR UPDATE ON pages FOR EACH ROW EXECUTE FUNCTION pages_tsvector_trigger();
CREATE TABLE projects (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), name varchar NOT NULL, description text, icon varchar, color varchar,
    is_archived boolean NOT NULL DEFAULT false, start_date timestamptz, end_date timestamptz,
    space_id uuid NOT NULL REFERENCES spaces (id) ON DELETE CASCADE, creator_id uuid REFERENCES users (id) ON DELETE SET NULL,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE, cover_image text,
    home_page_id uuid REFERENCES pages (id) ON DELETE SET NULL, agent_live boolean DEFAULT false, agent_live_changed_at timestamptz,
    agent_live_changed_by uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), deleted_at timestamptz
);
CREATE INDEX idx_projects_agent_live ON projects (agent_live);
-- From before tasks could be kept from agents: agent_live and agent_accessible are not there yet.
CREATE TABLE tasks (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), title varchar NOT NULL, description text, status task_status NOT NULL DEFAULT 'todo',
    priority task_priority NOT NULL DEFAULT 'medium', bucket task_bucket NOT NULL DEFAULT 'none', position varchar, due_date timestamptz,
    is_completed boolean NOT NULL DEFAULT false, completed_at timestamptz, estimated_time integer,
    project_id uuid REFERENCES projects (id) ON DELETE CASCADE, parent_task_id uuid REFERENCES tasks (id) ON DELETE SET NULL,
    page_id uuid REFERENCES pages (id) ON DELETE SET NULL, page_task_id text,
    creator_id uuid REFERENCES users (id) ON DELETE SET NULL, assignee_id uuid REFERENCES users (id) ON DELETE SET NULL,
    space_id uuid NOT NULL REFERENCES spaces (id) ON DELETE CASCADE, workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), deleted_at timestamptz
);
CREATE TABLE comments (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), content jsonb, selection varchar, type varchar, creator_id uuid REFERENCES users (id),
    page_id uuid NOT NULL REFERENCES pages (id) ON DELETE CASCADE, parent_comment_id uuid REFERENCES comments (id) ON DELETE CASCADE,
    workspace_id uuid NOT NULL REFERENCES workspaces (id), resolved_at timestamptz, created_at timestamptz NOT NULL DEFAULT now(),
    edited_at timestamptz, deleted_at timestamptz
);
CREATE TABLE agent_memories (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), workspace_id uuid NOT NULL, space_id uuid, creator_id uuid, source text, summary text,
    content jsonb, tags jsonb, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);

-- Tables of the agents.

-- No foreign keys, and times without a zone (D-60).
CREATE TABLE mcp_api_keys (
    id varchar PRIMARY KEY, user_id varchar NOT NULL, workspace_id varchar NOT NULL, name varchar NOT NULL,
    hashed_key varchar NOT NULL UNIQUE, created_at timestamp NOT NULL DEFAULT now(), last_used_at timestamp
);
CREATE INDEX mcp_api_keys_user_idx ON mcp_api_keys (user_id);
CREATE INDEX mcp_api_keys_workspace_idx ON mcp_api_keys (workspace_id);
CREATE INDEX mcp_api_keys_hashed_key_idx ON mcp_api_keys (hashed_key);

CREATE TABLE agent_invites (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name varchar NOT NULL, description text, token varchar NOT NULL UNIQUE, permissions text[] DEFAULT '{}', uses_remaining integer,
    uses_count integer NOT NULL DEFAULT 0, expires_at timestamptz, revoked_at timestamptz,
    created_by uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_agent_invites_workspace ON agent_invites (workspace_id);
CREATE INDEX idx_agent_invites_token ON agent_invites (token);

-- An id is everybody's (D-43).
CREATE TABLE parallax_agents (
    id varchar PRIMARY KEY, workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE, name varchar NOT NULL, description text,
    capabilities text[] NOT NULL, status parallax_agent_status NOT NULL DEFAULT 'pending', requested_permissions text[] NOT NULL,
    granted_permissions text[] DEFAULT '{}', mcp_api_key_id varchar REFERENCES mcp_api_keys (id) ON DELETE SET NULL,
    metadata jsonb DEFAULT '{}', endpoint varchar, requested_at timestamptz DEFAULT now(), resolved_at timestamptz,
    resolved_by uuid REFERENCES users (id), denial_reason text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE parallax_agents ADD COLUMN invite_id uuid REFERENCES agent_invites (id) ON DELETE SET NULL;
ALTER TABLE parallax_agents ADD COLUMN avatar_url varchar;
CREATE INDEX idx_parallax_agents_workspace ON parallax_agents (workspace_id);
CREATE INDEX idx_parallax_agents_status ON parallax_agents (status);

CREATE TABLE parallax_agent_assignments (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), agent_id varchar NOT NULL REFERENCES parallax_agents (id) ON DELETE CASCADE,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE, assignment_type parallax_assignment_type NOT NULL,
    project_id uuid REFERENCES projects (id) ON DELETE CASCADE, task_id uuid REFERENCES tasks (id) ON DELETE CASCADE,
    role parallax_agent_role DEFAULT 'member', assigned_at timestamptz DEFAULT now(),
    assigned_by uuid REFERENCES users (id) ON DELETE SET NULL, unassigned_at timestamptz
);
CREATE INDEX idx_parallax_assignments_agent ON parallax_agent_assignments (agent_id);
CREATE INDEX idx_parallax_assignments_project ON parallax_agent_assignments (project_id);
CREATE INDEX idx_parallax_assignments_task ON parallax_agent_assignments (task_id);
CREATE INDEX idx_parallax_assignments_active ON parallax_agent_assignments (agent_id, unassigned_at);

-- Without the foreign key to the agent, which came and went between versions: rows may speak of anybody.
CREATE TABLE parallax_agent_activity (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), agent_id varchar, workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    activity_type varchar NOT NULL, description text, metadata jsonb DEFAULT '{}', project_id uuid REFERENCES projects (id) ON DELETE SET NULL,
    task_id uuid REFERENCES tasks (id) ON DELETE SET NULL, page_id uuid REFERENCES pages (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_parallax_activity_agent ON parallax_agent_activity (agent_id);
CREATE INDEX idx_parallax_activity_created ON parallax_agent_activity (created_at);
CREATE INDEX idx_parallax_activity_workspace ON parallax_agent_activity (workspace_id);

CREATE TABLE parallax_agent_activity_daily (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), agent_id varchar REFERENCES parallax_agents (id) ON DELETE CASCADE,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE, activity_date date NOT NULL, activity_type varchar NOT NULL,
    count integer NOT NULL DEFAULT 0, sample_metadata jsonb DEFAULT '[]',
    CONSTRAINT parallax_agent_activity_daily_unique UNIQUE (agent_id, activity_date, activity_type)
);

-- No foreign key to the agent: those of teams have sessions too.
CREATE TABLE terminal_sessions (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    agent_id varchar NOT NULL, runtime_session_id varchar NOT NULL, status terminal_session_status NOT NULL DEFAULT 'pending',
    title varchar, cols integer DEFAULT 80, rows integer DEFAULT 24, runtime_endpoint varchar, last_activity_at timestamptz,
    connected_user_id uuid REFERENCES users (id) ON DELETE SET NULL, metadata jsonb DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), terminated_at timestamptz
);
CREATE INDEX terminal_sessions_agent_id_idx ON terminal_sessions (agent_id);
CREATE INDEX terminal_sessions_workspace_status_idx ON terminal_sessions (workspace_id, status);

CREATE TABLE terminal_session_logs (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), session_id uuid NOT NULL REFERENCES terminal_sessions (id) ON DELETE CASCADE,
    log_type varchar NOT NULL, content text, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX terminal_session_logs_session_id_idx ON terminal_session_logs (session_id);

CREATE TABLE coding_workspaces (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    space_id uuid REFERENCES spaces (id) ON DELETE SET NULL, experiment_id uuid REFERENCES pages (id) ON DELETE SET NULL,
    repo_url varchar NOT NULL, branch varchar NOT NULL, worktree_path varchar, workspace_type varchar NOT NULL DEFAULT 'worktree',
    base_branch varchar DEFAULT 'main', status varchar NOT NULL DEFAULT 'pending', pr_url varchar, pr_number integer, commit_sha varchar,
    error_message text, config jsonb DEFAULT '{}', metadata jsonb DEFAULT '{}', provisioned_by uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), cleaned_at timestamptz
);
CREATE INDEX coding_workspaces_workspace_idx ON coding_workspaces (workspace_id);
CREATE INDEX coding_workspaces_experiment_idx ON coding_workspaces (experiment_id);
CREATE INDEX coding_workspaces_status_idx ON coding_workspaces (status);

CREATE TABLE swarm_executions (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    space_id uuid REFERENCES spaces (id) ON DELETE SET NULL, experiment_id uuid REFERENCES pages (id) ON DELETE SET NULL,
    coding_workspace_id uuid REFERENCES coding_workspaces (id) ON DELETE SET NULL, agent_type varchar NOT NULL DEFAULT 'claude-code',
    agent_id varchar, runtime_session_id varchar, terminal_session_id uuid REFERENCES terminal_sessions (id) ON DELETE SET NULL,
    task_description text NOT NULL, task_context jsonb DEFAULT '{}', status varchar NOT NULL DEFAULT 'pending', output_summary text,
    exit_code integer, results jsonb DEFAULT '{}', files_changed jsonb DEFAULT '[]', started_at timestamptz, completed_at timestamptz,
    error_message text, config jsonb DEFAULT '{}', metadata jsonb DEFAULT '{}', triggered_by uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX swarm_executions_workspace_idx ON swarm_executions (workspace_id);
CREATE INDEX swarm_executions_experiment_idx ON swarm_executions (experiment_id);
CREATE INDEX swarm_executions_status_idx ON swarm_executions (status);
CREATE INDEX swarm_executions_coding_workspace_idx ON swarm_executions (coding_workspace_id);

-- A table of the original's that is none of ours and refers to ours.
CREATE TABLE research_jobs (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(), agent_id varchar REFERENCES parallax_agents (id) ON DELETE SET NULL,
    execution_id uuid REFERENCES swarm_executions (id) ON DELETE SET NULL
);

-- Rows of the knowledge base. Every password is "correct horse battery".

INSERT INTO workspaces (id, name, hostname, status, settings, created_at) VALUES
    ('10000000-0000-7000-8000-000000000001', 'Acme', 'acme', 'active', '{"agent": {"enabled": true}}', '2026-01-01 00:00:00Z'),
    ('20000000-0000-7000-8000-000000000002', 'Other', 'other', 'active', NULL, '2026-01-02 00:00:00Z');
INSERT INTO users (id, name, email, password, role, workspace_id, deactivated_at, deleted_at, agent_id, created_at) VALUES
    ('a0000000-0000-7000-8000-000000000001', 'Ada', 'ada@acme.example', '$2b$04$abcdefghijklmnopqrstuuqREtd3VJD2QVZbuFskFSLk6eRIrQoOS', 'owner', '10000000-0000-7000-8000-000000000001', NULL, NULL, NULL, '2026-01-01 00:00:00Z'),
    ('a0000000-0000-7000-8000-000000000002', 'Bob', 'bob@acme.example', '$2b$04$abcdefghijklmnopqrstuuqREtd3VJD2QVZbuFskFSLk6eRIrQoOS', 'member', '10000000-0000-7000-8000-000000000001', '2026-02-01 00:00:00Z', NULL, NULL, '2026-01-01 00:00:00Z'),
    ('a0000000-0000-7000-8000-000000000003', 'Cy', 'cy@acme.example', '$2b$04$abcdefghijklmnopqrstuuqREtd3VJD2QVZbuFskFSLk6eRIrQoOS', 'member', '10000000-0000-7000-8000-000000000001', NULL, '2026-02-01 00:00:00Z', NULL, '2026-01-01 00:00:00Z'),
    ('a0000000-0000-7000-8000-000000000004', 'Olga', 'olga@other.example', '$2b$04$abcdefghijklmnopqrstuuqREtd3VJD2QVZbuFskFSLk6eRIrQoOS', 'owner', '20000000-0000-7000-8000-000000000002', NULL, NULL, NULL, '2026-01-02 00:00:00Z'),
    ('b0000000-0000-7000-8000-000000000001', 'Scout', 'scout@agents.internal', NULL, 'member', '10000000-0000-7000-8000-000000000001', NULL, NULL, 'scout', '2026-03-01 00:00:00Z'),
    ('b0000000-0000-7000-8000-000000000002', 'Scout again', 'scout2@agents.internal', NULL, 'member', '10000000-0000-7000-8000-000000000001', NULL, NULL, 'scout', '2026-03-02 00:00:00Z'),
    ('b0000000-0000-7000-8000-000000000003', 'Team bot', 'team/bot one@agents.internal', NULL, 'member', '10000000-0000-7000-8000-000000000001', NULL, NULL, 'team/bot one', '2026-03-01 00:00:00Z'),
    ('b0000000-0000-7000-8000-000000000004', 'Rogue', 'rogue@agents.internal', NULL, 'member', '10000000-0000-7000-8000-000000000001', NULL, NULL, 'rogue', '2026-03-01 00:00:00Z'),
    ('b0000000-0000-7000-8000-000000000005', 'Gone', 'gone@agents.internal', NULL, 'member', '10000000-0000-7000-8000-000000000001', NULL, NULL, 'gone', '2026-03-01 00:00:00Z'),
    ('b0000000-0000-7000-8000-000000000006', 'Helper', 'helper@agents.internal', NULL, 'agent', '20000000-0000-7000-8000-000000000002', NULL, NULL, 'helper', '2026-03-01 00:00:00Z');
INSERT INTO spaces (id, name, slug, workspace_id) VALUES
    ('50000000-0000-7000-8000-000000000001', 'General', 'general', '10000000-0000-7000-8000-000000000001'),
    ('50000000-0000-7000-8000-000000000002', 'General', 'general', '20000000-0000-7000-8000-000000000002');
UPDATE workspaces SET default_space_id = '50000000-0000-7000-8000-000000000001' WHERE hostname = 'acme';
INSERT INTO pages (id, slug_id, title, space_id, workspace_id) VALUES
    ('60000000-0000-7000-8000-000000000001', 'p1', 'Experiment', '50000000-0000-7000-8000-000000000001', '10000000-0000-7000-8000-000000000001');
INSERT INTO projects (id, name, space_id, workspace_id) VALUES
    ('70000000-0000-7000-8000-000000000001', 'Docs', '50000000-0000-7000-8000-000000000001', '10000000-0000-7000-8000-000000000001'),
    ('70000000-0000-7000-8000-000000000002', 'Theirs', '50000000-0000-7000-8000-000000000002', '20000000-0000-7000-8000-000000000002');
INSERT INTO tasks (id, title, status, space_id, workspace_id) VALUES
    ('80000000-0000-7000-8000-000000000001', 'Write', 'in_progress', '50000000-0000-7000-8000-000000000001', '10000000-0000-7000-8000-000000000001');

-- Invites: open, with strings that are no permissions; used up and once more (D-27); expired; revoked; the other workspace's.
INSERT INTO agent_invites (id, workspace_id, name, token, permissions, uses_remaining, uses_count, expires_at, revoked_at, created_by, created_at) VALUES
    ('c0000000-0000-7000-8000-000000000001', '10000000-0000-7000-8000-000000000001', 'open', 'agent_inv_open-OpenOpenOpenOpenOpenOpenOpenOpen', '{read:pages,search,make:coffee}', 3, 1, NULL, NULL, 'a0000000-0000-7000-8000-000000000001', '2026-02-01 00:00:00Z'),
    ('c0000000-0000-7000-8000-000000000002', '10000000-0000-7000-8000-000000000001', 'unlimited', 'agent_inv_free-FreeFreeFreeFreeFreeFreeFreeFree', NULL, NULL, 0, '2099-01-01 00:00:00Z', NULL, NULL, '2026-02-02 00:00:00Z'),
    ('c0000000-0000-7000-8000-000000000003', '10000000-0000-7000-8000-000000000001', 'overdrawn', 'agent_inv_used-UsedUsedUsedUsedUsedUsedUsedUsed', '{read:tasks}', -2, 7, NULL, NULL, 'a0000000-0000-7000-8000-000000000001', '2026-02-03 00:00:00Z'),
    ('c0000000-0000-7000-8000-000000000004', '10000000-0000-7000-8000-000000000001', 'expired', 'agent_inv_late-LateLateLateLateLateLateLateLate', '{read:tasks}', 5, 0, '2026-03-01 00:00:00Z', NULL, 'a0000000-0000-7000-8000-000000000001', '2026-02-04 00:00:00Z'),
    ('c0000000-0000-7000-8000-000000000005', '10000000-0000-7000-8000-000000000001', 'revoked', 'agent_inv_over-OverOverOverOverOverOverOverOver', '{read:tasks}', NULL, 2, NULL, '2026-03-02 00:00:00Z', 'a0000000-0000-7000-8000-000000000003', '2026-02-05 00:00:00Z'),
    ('c0000000-0000-7000-8000-000000000006', '20000000-0000-7000-8000-000000000002', 'theirs', 'agent_inv_them-ThemThemThemThemThemThemThemThem', '{read:pages}', NULL, 0, NULL, NULL, 'a0000000-0000-7000-8000-000000000004', '2026-02-06 00:00:00Z'),
    ('c0000000-0000-7000-8000-000000000007', '10000000-0000-7000-8000-000000000001', 'short', 'tiny-token', '{}', NULL, 0, NULL, NULL, NULL, '2026-02-07 00:00:00Z');

-- Agents in every state, and with ids that our rules forbid (D-24).
INSERT INTO parallax_agents (id, workspace_id, name, capabilities, status, requested_permissions, granted_permissions, metadata, invite_id, requested_at, resolved_at, resolved_by, denial_reason, created_at, updated_at) VALUES
    ('scout', '10000000-0000-7000-8000-000000000001', 'Scout', '{code,NULL,review}', 'approved', '{read:pages,search}', '{write:tasks,read:pages,search,make:coffee}', '{"workingStatus": "idle"}', 'c0000000-0000-7000-8000-000000000001', '2026-02-27 00:00:00Z', '2026-03-01 00:00:00Z', 'a0000000-0000-7000-8000-000000000001', NULL, '2026-02-27 00:00:00Z', '2026-03-01 00:00:00Z'),
    ('Scout', '10000000-0000-7000-8000-000000000001', 'Scout in capitals', '{}', 'pending', '{read:pages}', '{}', '{}', NULL, '2026-02-20 00:00:00Z', NULL, NULL, NULL, '2026-02-20 00:00:00Z', '2026-02-20 00:00:00Z'),
    ('team/bot one', '10000000-0000-7000-8000-000000000001', 'Team bot', '{code}', 'approved', '{}', '{read:tasks}', '{"a": 1}', NULL, '2026-03-01 00:00:00Z', NULL, NULL, NULL, '2026-03-01 00:00:00Z', '2026-03-03 00:00:00Z'),
    ('pending', '10000000-0000-7000-8000-000000000001', 'Named like a route', '{}', 'pending', '{fly:rockets}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-03-04 00:00:00Z', '2026-03-04 00:00:00Z'),
    (repeat('long', 40), '10000000-0000-7000-8000-000000000001', 'Long', '{}', 'pending', '{}', NULL, '[1, 2]', NULL, '2026-03-05 00:00:00Z', NULL, NULL, NULL, '2026-03-05 00:00:00Z', '2026-03-05 00:00:00Z'),
    (repeat('long', 40) || '!', '10000000-0000-7000-8000-000000000001', 'Long too', '{}', 'pending', '{}', NULL, 'null', NULL, '2026-03-05 00:00:00Z', NULL, NULL, NULL, '2026-03-05 00:00:00Z', '2026-03-05 00:00:00Z'),
    ('..', '10000000-0000-7000-8000-000000000001', 'Dots', '{}', 'denied', '{}', '{}', '{}', NULL, '2026-03-05 00:00:00Z', '2026-03-06 00:00:00Z', 'a0000000-0000-7000-8000-000000000001', NULL, '2026-03-05 00:00:00Z', '2026-03-06 00:00:00Z'),
    ('denied-one', '10000000-0000-7000-8000-000000000001', 'Denied', '{}', 'denied', '{read:pages}', '{}', '{}', NULL, '2026-03-05 00:00:00Z', '2026-03-06 00:00:00Z', 'a0000000-0000-7000-8000-000000000001', 'not now', '2026-03-05 00:00:00Z', '2026-03-06 00:00:00Z'),
    ('rogue', '10000000-0000-7000-8000-000000000001', 'Rogue', '{}', 'revoked', '{read:pages}', '{read:pages,write:pages}', '{}', NULL, '2026-02-28 00:00:00Z', '2026-03-10 00:00:00Z', 'a0000000-0000-7000-8000-000000000001', 'it deleted pages', '2026-02-28 00:00:00Z', '2026-03-10 00:00:00Z'),
    ('helper', '20000000-0000-7000-8000-000000000002', 'Helper', '{code}', 'approved', '{read:pages}', '{read:pages}', '{}', NULL, '2026-03-01 00:00:00Z', '2026-03-01 00:00:00Z', 'a0000000-0000-7000-8000-000000000004', NULL, '2026-03-01 00:00:00Z', '2026-03-01 00:00:00Z');

INSERT INTO parallax_agent_assignments (id, agent_id, workspace_id, assignment_type, project_id, task_id, role, assigned_at, assigned_by, unassigned_at) VALUES
    ('d0000000-0000-7000-8000-000000000001', 'scout', '10000000-0000-7000-8000-000000000001', 'project', '70000000-0000-7000-8000-000000000001', NULL, 'lead', '2026-04-01 00:00:00Z', 'a0000000-0000-7000-8000-000000000001', NULL),
    ('d0000000-0000-7000-8000-000000000002', 'scout', '10000000-0000-7000-8000-000000000001', 'project', '70000000-0000-7000-8000-000000000001', NULL, 'member', '2026-04-02 00:00:00Z', NULL, NULL),
    ('d0000000-0000-7000-8000-000000000003', 'scout', '10000000-0000-7000-8000-000000000001', 'project', '70000000-0000-7000-8000-000000000001', NULL, NULL, '2026-03-20 00:00:00Z', NULL, '2026-03-21 00:00:00Z'),
    ('d0000000-0000-7000-8000-000000000004', 'scout', '10000000-0000-7000-8000-000000000001', 'task', NULL, NULL, 'member', '2026-04-03 00:00:00Z', NULL, NULL),
    ('d0000000-0000-7000-8000-000000000005', 'team/bot one', '10000000-0000-7000-8000-000000000001', 'project', NULL, '80000000-0000-7000-8000-000000000001', 'member', NULL, NULL, NULL),
    ('d0000000-0000-7000-8000-000000000006', 'scout', '10000000-0000-7000-8000-000000000001', 'task', '70000000-0000-7000-8000-000000000001', '80000000-0000-7000-8000-000000000001', 'member', '2026-04-04 00:00:00Z', NULL, NULL),
    ('d0000000-0000-7000-8000-000000000007', 'rogue', '10000000-0000-7000-8000-000000000001', 'task', NULL, '80000000-0000-7000-8000-000000000001', 'member', '2026-03-02 00:00:00Z', NULL, NULL),
    ('d0000000-0000-7000-8000-000000000008', 'helper', '10000000-0000-7000-8000-000000000001', 'task', NULL, '80000000-0000-7000-8000-000000000001', 'member', '2026-03-02 00:00:00Z', NULL, NULL),
    ('d0000000-0000-7000-8000-000000000009', 'scout', '10000000-0000-7000-8000-000000000001', 'project', '70000000-0000-7000-8000-000000000002', NULL, 'member', '2026-03-02 00:00:00Z', NULL, NULL);

INSERT INTO parallax_agent_activity (id, agent_id, workspace_id, activity_type, description, metadata, project_id, created_at) VALUES
    ('e0000000-0000-7000-8000-000000000001', 'scout', '10000000-0000-7000-8000-000000000001', 'access_approved', 'Scout was approved', '{"permissions": ["read:pages"]}', NULL, '2026-03-01 00:00:00Z'),
    ('e0000000-0000-7000-8000-000000000002', 'rogue', '10000000-0000-7000-8000-000000000001', 'access_approved', 'Rogue was approved', '{}', NULL, '2026-03-01 12:00:00Z'),
    ('e0000000-0000-7000-8000-000000000003', 'rogue', '10000000-0000-7000-8000-000000000001', 'access_revoked', NULL, NULL, NULL, '2026-03-10 00:00:00Z'),
    ('e0000000-0000-7000-8000-000000000004', NULL, '10000000-0000-7000-8000-000000000001', 'agents_spawned', 'one', '{}', NULL, '2026-03-11 00:00:00Z'),
    ('e0000000-0000-7000-8000-000000000005', 'nobody/knows', '10000000-0000-7000-8000-000000000001', 'task_claimed', 'of one that is gone', '{}', '70000000-0000-7000-8000-000000000001', '2026-03-12 00:00:00Z'),
    ('e0000000-0000-7000-8000-000000000006', 'team/bot one', '10000000-0000-7000-8000-000000000001', 'assigned', 'assigned', '{}', NULL, '2026-03-13 00:00:00Z');
INSERT INTO parallax_agent_activity_daily (id, agent_id, workspace_id, activity_date, activity_type, count, sample_metadata) VALUES
    ('e1000000-0000-7000-8000-000000000001', 'scout', '10000000-0000-7000-8000-000000000001', '2026-03-01', 'access_approved', 1, NULL),
    ('e1000000-0000-7000-8000-000000000002', NULL, '10000000-0000-7000-8000-000000000001', '2026-03-11', 'agents_spawned', 2, '[]'),
    ('e1000000-0000-7000-8000-000000000003', NULL, '10000000-0000-7000-8000-000000000001', '2026-03-11', 'agents_spawned', 3, '[]');

-- Keys: the text behind each hash is mcp_ and the name of what it stands for, filled up with zeros to 64 digits.
INSERT INTO mcp_api_keys (id, user_id, workspace_id, name, hashed_key, created_at, last_used_at)
SELECT name, account, workspace, label, encode(sha256(convert_to('mcp_' || rpad(name, 64, '0'), 'UTF8')), 'hex'), '2026-03-01 10:00:00', '2026-03-02 11:30:00'
FROM (VALUES
    ('scout', 'b0000000-0000-7000-8000-000000000001', '10000000-0000-7000-8000-000000000001', 'Agent: Scout'),
    ('scout-twice', 'b0000000-0000-7000-8000-000000000002', '10000000-0000-7000-8000-000000000001', 'Agent: Scout'),
    ('team', 'b0000000-0000-7000-8000-000000000003', '10000000-0000-7000-8000-000000000001', 'Agent: Team bot'),
    ('rogue', 'b0000000-0000-7000-8000-000000000004', '10000000-0000-7000-8000-000000000001', 'Agent: Rogue'),
    ('gone', 'b0000000-0000-7000-8000-000000000005', '10000000-0000-7000-8000-000000000001', 'Agent: Gone'),
    ('helper', 'b0000000-0000-7000-8000-000000000006', '20000000-0000-7000-8000-000000000002', 'Agent: Helper'),
    ('person', 'a0000000-0000-7000-8000-000000000001', '10000000-0000-7000-8000-000000000001', 'laptop'),
    ('deactivated', 'a0000000-0000-7000-8000-000000000002', '10000000-0000-7000-8000-000000000001', 'old laptop'),
    ('deleted', 'a0000000-0000-7000-8000-000000000003', '10000000-0000-7000-8000-000000000001', 'older laptop'),
    ('elsewhere', 'a0000000-0000-7000-8000-000000000004', '10000000-0000-7000-8000-000000000001', 'visitor'),
    ('orphan-user', 'a0000000-0000-7000-8000-0000000000ff', '10000000-0000-7000-8000-000000000001', 'of nobody'),
    ('orphan-workspace', 'a0000000-0000-7000-8000-000000000001', '30000000-0000-7000-8000-000000000003', 'of nowhere'),
    ('system', 'system', '10000000-0000-7000-8000-000000000001', 'swarm-90000000'),
    ('swarm-live', 'a0000000-0000-7000-8000-000000000001', '10000000-0000-7000-8000-000000000001', 'swarm-90000000'),
    ('swarm-over', 'a0000000-0000-7000-8000-000000000001', '10000000-0000-7000-8000-000000000001', 'swarm-91000000')
) AS key (name, account, workspace, label);

-- Sessions: two open ones of one agent; one runtime session twice; no size; a team's agent; of an agent that was revoked.
INSERT INTO terminal_sessions (id, workspace_id, agent_id, runtime_session_id, status, cols, rows, runtime_endpoint, connected_user_id, metadata, created_at, updated_at, terminated_at) VALUES
    ('f0000000-0000-7000-8000-000000000001', '10000000-0000-7000-8000-000000000001', 'scout', 'rt-1', 'active', 80, 24, 'http://runtime.example:8081', 'a0000000-0000-7000-8000-000000000001', '{}', '2026-03-01 00:00:00Z', '2026-03-01 01:00:00Z', NULL),
    ('f0000000-0000-7000-8000-000000000002', '10000000-0000-7000-8000-000000000001', 'scout', 'rt-2', 'login_required', 120, 40, 'http://runtime.example:8081', NULL, NULL, '2026-03-02 00:00:00Z', '2026-03-02 01:00:00Z', NULL),
    ('f0000000-0000-7000-8000-000000000003', '10000000-0000-7000-8000-000000000001', 'team/bot one', 'rt-2', 'disconnected', 0, NULL, NULL, NULL, '{}', '2026-03-01 00:00:00Z', '2026-03-01 01:00:00Z', NULL),
    ('f0000000-0000-7000-8000-000000000004', '10000000-0000-7000-8000-000000000001', 'team: crew/7', 'rt-3', 'pending', 5000, 24, NULL, NULL, '{}', '2026-03-01 00:00:00Z', '2026-03-01 01:00:00Z', NULL),
    ('f0000000-0000-7000-8000-000000000005', '10000000-0000-7000-8000-000000000001', 'rogue', 'rt-4', 'active', 80, 24, NULL, NULL, '{}', '2026-03-01 00:00:00Z', '2026-03-01 01:00:00Z', NULL),
    ('f0000000-0000-7000-8000-000000000006', '10000000-0000-7000-8000-000000000001', 'scout', 'rt-0', 'terminated', 80, 24, NULL, NULL, '{}', '2026-02-28 00:00:00Z', '2026-02-28 01:00:00Z', NULL),
    ('f0000000-0000-7000-8000-000000000007', '10000000-0000-7000-8000-000000000001', 'scout', 'rt-00', 'disconnected', 80, 24, NULL, NULL, '{}', '2026-02-27 00:00:00Z', '2026-02-27 01:00:00Z', '2026-02-27 02:00:00Z');
INSERT INTO terminal_session_logs (id, session_id, log_type, content) VALUES
    ('f1000000-0000-7000-8000-000000000001', 'f0000000-0000-7000-8000-000000000001', 'stdout', 'hello'),
    ('f1000000-0000-7000-8000-000000000002', 'f0000000-0000-7000-8000-000000000003', 'resize', '80x24');

INSERT INTO coding_workspaces (id, workspace_id, space_id, experiment_id, repo_url, branch, status, config, metadata) VALUES
    ('fa000000-0000-7000-8000-000000000001', '10000000-0000-7000-8000-000000000001', '50000000-0000-7000-8000-000000000001', '60000000-0000-7000-8000-000000000001', 'https://git.example/docs.git', 'experiment/1', 'ready', NULL, '{}'),
    ('fa000000-0000-7000-8000-000000000002', '10000000-0000-7000-8000-000000000001', NULL, NULL, 'https://git.example/docs.git', 'experiment/2', 'archived', '{}', NULL);
INSERT INTO swarm_executions (id, workspace_id, coding_workspace_id, agent_id, terminal_session_id, task_description, status, results, files_changed, triggered_by, created_at) VALUES
    ('90000000-0000-7000-8000-000000000001', '10000000-0000-7000-8000-000000000001', 'fa000000-0000-7000-8000-000000000001', 'runtime-7', 'f0000000-0000-7000-8000-000000000001', 'Write it', 'running', NULL, NULL, 'a0000000-0000-7000-8000-000000000001', '2026-03-01 10:00:00Z'),
    ('91000000-0000-7000-8000-000000000002', '10000000-0000-7000-8000-000000000001', NULL, NULL, NULL, 'Try it', 'completed', '{}', '[]', NULL, '2026-03-01 10:00:00Z'),
    ('92000000-0000-7000-8000-000000000003', '10000000-0000-7000-8000-000000000001', NULL, NULL, NULL, 'Wait for it', 'timeout', '{}', '[]', NULL, '2026-03-01 10:00:00Z');
INSERT INTO research_jobs (id, agent_id, execution_id) VALUES ('fb000000-0000-7000-8000-000000000001', 'scout', '90000000-0000-7000-8000-000000000001');
