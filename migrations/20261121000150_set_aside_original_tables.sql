-- Puts the tables that Raven Docs itself made for its agents out of the way of ours, into the schema
-- raven_original, with their indexes, constraints and enum types. 20261121000350 copies their rows.
-- In a fresh database and in one that has our tables already there is nothing to do.
-- Locks: ACCESS EXCLUSIVE on the original's tables for agents, and on tables with a foreign key to one of
-- them, for catalogue changes; row locks on the accounts of agents.

DO $$
DECLARE
    owned constant text[] := ARRAY[
        'agent_invites', 'parallax_agents', 'parallax_agent_assignments', 'parallax_agent_activity', 'parallax_agent_activity_daily',
        'mcp_api_keys', 'terminal_sessions', 'terminal_session_logs', 'coding_workspaces', 'swarm_executions'
    ];
    moved oid[];
    item record;
BEGIN
    moved := ARRAY(SELECT to_regclass(name)::oid FROM unnest(owned) AS name WHERE to_regclass(name) IS NOT NULL);
    IF moved = '{}' OR EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('parallax_agents') AND attname = 'request_version' AND NOT attisdropped
    ) THEN
        RETURN;
    END IF;

    CREATE SCHEMA raven_original;
    COMMENT ON SCHEMA raven_original IS
        'What the original''s tables for agents held before raven-agents took the database over. May be dropped once nobody needs it.';
    -- What became of rows that were not copied as they were.
    CREATE TABLE raven_original.notes (
        table_name varchar NOT NULL,
        row_id varchar NOT NULL,
        outcome varchar NOT NULL CONSTRAINT notes_outcome_check CHECK (outcome IN ('set_aside', 'merged', 'revoked', 'changed')),
        reason text NOT NULL
    );
    -- Under which id an agent is known from now on.
    CREATE TABLE raven_original.agent_ids (
        workspace_id uuid NOT NULL,
        original_id varchar NOT NULL,
        agent_id varchar NOT NULL,
        CONSTRAINT agent_ids_pkey PRIMARY KEY (workspace_id, original_id)
    );
    CREATE UNIQUE INDEX agent_ids_lower_key ON raven_original.agent_ids (workspace_id, lower(agent_id));
    -- Foreign keys of other tables to the moved ones, dropped here and made again for the new ones where they fit.
    CREATE TABLE raven_original.foreign_keys (host_table text NOT NULL, name varchar NOT NULL, definition text NOT NULL);

    -- The accounts of agents as they were. In the original nothing kept two from having one agent's id.
    CREATE TABLE raven_original.agent_accounts AS
        SELECT id AS user_id, workspace_id, agent_id, role FROM users WHERE agent_id IS NOT NULL AND workspace_id IS NOT NULL;
    -- An agent is no member (D-08). An account with a password is a person's, whatever else it says.
    UPDATE users SET role = 'agent'
    WHERE (agent_id IS NOT NULL OR email LIKE '%@agents.internal') AND password IS NULL AND role IS DISTINCT FROM 'agent';
    -- The oldest account keeps the agent; the others keep everything else.
    WITH later AS (
        SELECT id, row_number() OVER (PARTITION BY workspace_id, agent_id ORDER BY created_at, id) AS place
        FROM users WHERE agent_id IS NOT NULL AND workspace_id IS NOT NULL AND deleted_at IS NULL
    ), detached AS (
        UPDATE users u SET agent_id = NULL FROM later WHERE u.id = later.id AND later.place > 1 RETURNING u.id
    )
    INSERT INTO raven_original.notes
        SELECT 'users', id, 'changed', 'another account, which is older, stands for the same agent' FROM detached;

    -- A definition names its table without a schema as long as that is on the search path, so it is read before the move.
    FOR item IN
        SELECT c.conrelid::regclass AS host, c.conname, pg_get_constraintdef(c.oid) AS definition
        FROM pg_constraint c
        WHERE c.contype = 'f' AND c.conparentid = 0 AND c.confrelid = ANY (moved) AND NOT c.conrelid = ANY (moved)
    LOOP
        INSERT INTO raven_original.foreign_keys VALUES (item.host, item.conname, item.definition);
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', item.host, item.conname);
    END LOOP;
    -- A row that was set aside must not keep somebody from deleting a person or a page.
    FOR item IN
        SELECT c.conrelid::regclass AS own, c.conname
        FROM pg_constraint c
        WHERE c.contype = 'f' AND c.conrelid = ANY (moved) AND NOT c.confrelid = ANY (moved) AND c.confdeltype IN ('a', 'r')
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', item.own, item.conname);
    END LOOP;

    FOR item IN SELECT name FROM unnest(owned) AS name WHERE to_regclass(name) IS NOT NULL LOOP
        EXECUTE format('ALTER TABLE %I SET SCHEMA raven_original', item.name);
    END LOOP;
    FOR item IN
        SELECT name FROM unnest(ARRAY['parallax_agent_status', 'parallax_assignment_type', 'parallax_agent_role', 'terminal_session_status']) AS name
        WHERE to_regtype(name) IS NOT NULL
    LOOP
        EXECUTE format('ALTER TYPE %I SET SCHEMA raven_original', item.name);
    END LOOP;

    -- Tables and columns that came late to the original: empty here, so that the copy is one for all of its versions.
    FOR item IN
        SELECT * FROM (VALUES
            ('agent_invites', 'id uuid, workspace_id uuid, name varchar, description text, token varchar, permissions text[],
                uses_remaining integer, uses_count integer, expires_at timestamptz, revoked_at timestamptz, created_by uuid,
                created_at timestamptz, updated_at timestamptz'),
            ('parallax_agents', 'id varchar, workspace_id uuid, name varchar, description text, avatar_url varchar, capabilities text[],
                status varchar, requested_permissions text[], granted_permissions text[], metadata jsonb, endpoint varchar, invite_id uuid,
                requested_at timestamptz, resolved_at timestamptz, resolved_by uuid, denial_reason text, created_at timestamptz,
                updated_at timestamptz'),
            ('parallax_agent_assignments', 'id uuid, agent_id varchar, workspace_id uuid, assignment_type varchar, project_id uuid,
                task_id uuid, role varchar, assigned_at timestamptz, assigned_by uuid, unassigned_at timestamptz'),
            ('parallax_agent_activity', 'id uuid, agent_id varchar, workspace_id uuid, activity_type varchar, description text,
                metadata jsonb, project_id uuid, task_id uuid, page_id uuid, created_at timestamptz'),
            ('parallax_agent_activity_daily', 'id uuid, agent_id varchar, workspace_id uuid, activity_date date, activity_type varchar,
                count integer, sample_metadata jsonb'),
            ('mcp_api_keys', 'id varchar, user_id varchar, workspace_id varchar, name varchar, hashed_key varchar, created_at timestamptz,
                last_used_at timestamptz'),
            ('terminal_sessions', 'id uuid, workspace_id uuid, agent_id varchar, runtime_session_id varchar, status varchar, title varchar,
                cols integer, rows integer, runtime_endpoint varchar, last_activity_at timestamptz, metadata jsonb,
                created_at timestamptz, updated_at timestamptz, terminated_at timestamptz'),
            ('terminal_session_logs', 'id uuid, session_id uuid, log_type varchar, content text, created_at timestamptz'),
            ('coding_workspaces', 'id uuid, workspace_id uuid, space_id uuid, experiment_id uuid, repo_url varchar, branch varchar,
                worktree_path varchar, workspace_type varchar, base_branch varchar, status varchar, pr_url varchar, pr_number integer,
                commit_sha varchar, error_message text, config jsonb, metadata jsonb, provisioned_by uuid, created_at timestamptz,
                updated_at timestamptz, cleaned_at timestamptz'),
            ('swarm_executions', 'id uuid, workspace_id uuid, space_id uuid, experiment_id uuid, coding_workspace_id uuid,
                agent_type varchar, agent_id varchar, runtime_session_id varchar, terminal_session_id uuid, task_description text,
                task_context jsonb, status varchar, output_summary text, exit_code integer, results jsonb, files_changed jsonb,
                started_at timestamptz, completed_at timestamptz, error_message text, config jsonb, metadata jsonb, triggered_by uuid,
                created_at timestamptz, updated_at timestamptz')
        ) AS wanted (name, columns)
    LOOP
        EXECUTE format('CREATE TABLE IF NOT EXISTS raven_original.%I ()', item.name);
        EXECUTE (
            SELECT format('ALTER TABLE raven_original.%I %s', item.name, string_agg('ADD COLUMN IF NOT EXISTS ' || trim(part), ', '))
            FROM regexp_split_to_table(item.columns, ',\s*') AS part
        );
    END LOOP;
    -- Tokens are forgotten there once they are hashed and sealed.
    ALTER TABLE raven_original.agent_invites ALTER COLUMN token DROP NOT NULL;
END $$;
