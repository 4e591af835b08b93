-- Copies what 20261121000150 set aside into our tables, each row with its meaning. Without the schema
-- raven_original there is nothing to do. Rows that our tables cannot hold stay where they are, and
-- raven_original.notes says why; it also names every row that was changed on the way.
-- Invite tokens are hashed here. Those that can still admit somebody stay in plain text until the program,
-- which alone knows the key, has sealed them; the others are forgotten at once.
-- Locks: row locks on the accounts of agents, share locks on the tables that foreign keys point to, ACCESS
-- EXCLUSIVE on tables that had a foreign key to a moved one, for a catalogue change.

DO $$
DECLARE
    -- The catalogue; anything else granted nothing.
    known constant text[] := ARRAY[
        'read:pages', 'read:tasks', 'read:projects', 'read:memory', 'read:spaces', 'read:users', 'read:comments', 'read:attachments',
        'write:pages', 'write:tasks', 'write:projects', 'write:memory', 'write:comments', 'write:spaces', 'write:attachments',
        'delete:pages', 'delete:tasks', 'assign:tasks', 'delegate:agents', 'execute:research', 'execute:search', 'execute:ai', 'execute:swarm'
    ];
    -- Words that stand beside an agent's id in a route (D-24).
    reserved constant text[] := ARRAY[
        'access-request', 'activity', 'assignments', 'available', 'invites', 'pending', 'permissions', 'project', 'register', 'runtime',
        'spawn', 'spawn-callback', 'task', 'watchable'
    ];
    named record;
    stem text;
    chosen text;
    attempt integer;
BEGIN
    IF to_regnamespace('raven_original') IS NULL OR to_regclass('raven_original.agent_ids') IS NULL THEN
        RETURN;
    END IF;
    -- Times without a zone are times in UTC (D-60).
    PERFORM set_config('TimeZone', 'UTC', true);

    -- Ids of agents, wherever they occur. One that our rules allow stays (D-24). Of several that differ in case only,
    -- the approved one stays, else the oldest. The others get an id made of their own; what hangs on them follows.
    CREATE TEMPORARY TABLE named_agents ON COMMIT DROP AS
        SELECT workspace_id, id, min(rank) AS rank, min(at) AS at,
               id ~ '^[A-Za-z0-9._:-]{1,128}$' AND id !~ '^[.]+$' AND lower(id) <> ALL (reserved) AS allowed
        FROM (
            SELECT workspace_id, id, CASE status::text WHEN 'approved' THEN 0 ELSE 1 END, created_at FROM raven_original.parallax_agents
            UNION ALL SELECT workspace_id, agent_id, 2, NULL FROM raven_original.agent_accounts
            UNION ALL SELECT workspace_id, agent_id, 3, NULL FROM raven_original.terminal_sessions
            UNION ALL SELECT workspace_id, agent_id, 4, NULL FROM raven_original.parallax_agent_activity
            UNION ALL SELECT workspace_id, agent_id, 4, NULL FROM raven_original.parallax_agent_activity_daily
        ) AS mentioned (workspace_id, id, rank, at)
        WHERE id IS NOT NULL
        GROUP BY workspace_id, id;
    INSERT INTO raven_original.agent_ids
        SELECT DISTINCT ON (workspace_id, lower(id)) workspace_id, id, id
        FROM named_agents WHERE allowed ORDER BY workspace_id, lower(id), rank, at, id;
    FOR named IN
        SELECT * FROM named_agents n
        WHERE NOT EXISTS (SELECT FROM raven_original.agent_ids i WHERE i.workspace_id = n.workspace_id AND i.original_id = n.id)
        ORDER BY rank, at, id
    LOOP
        stem := coalesce(nullif(trim(BOTH '-.' FROM regexp_replace(named.id, '[^A-Za-z0-9._:-]+', '-', 'g')), ''), 'agent');
        attempt := 0;
        LOOP
            chosen := left(stem, 119) || '-' || left(md5(named.id || attempt), 8);
            EXIT WHEN NOT EXISTS (
                SELECT FROM raven_original.agent_ids i WHERE i.workspace_id = named.workspace_id AND lower(i.agent_id) = lower(chosen)
            );
            attempt := attempt + 1;
        END LOOP;
        INSERT INTO raven_original.agent_ids VALUES (named.workspace_id, named.id, chosen);
        IF named.rank < 2 THEN
            INSERT INTO raven_original.notes VALUES (
                'parallax_agents', named.id, 'changed',
                CASE WHEN named.allowed THEN 'its id differs from another in case only' ELSE 'its id breaks the rules for ids' END
                    || ' and was replaced'
            );
        END IF;
    END LOOP;
    UPDATE users u SET agent_id = i.agent_id
    FROM raven_original.agent_ids i
    WHERE u.workspace_id = i.workspace_id AND u.agent_id = i.original_id AND i.agent_id <> i.original_id;

    -- Invites (D-04). Uses that were taken too often (D-27) are all taken.
    INSERT INTO agent_invites (id, workspace_id, name, description, token_hash, token_prefix, permissions, uses_remaining, uses_count,
                               expires_at, revoked_at, created_by, created_at, updated_at)
    SELECT v.id, v.workspace_id, coalesce(v.name, ''), v.description, encode(sha256(convert_to(v.token, 'UTF8')), 'hex'),
           -- As much as may be shown, and never most of a short token.
           left(v.token, least(12, char_length(v.token) / 2)),
           ARRAY(SELECT DISTINCT CASE p WHEN 'search' THEN 'execute:search' ELSE p END AS p FROM unnest(v.permissions) AS p
                 WHERE p = 'search' OR p = ANY (known) ORDER BY p),
           CASE WHEN v.uses_remaining < 0 THEN 0 ELSE v.uses_remaining END, greatest(coalesce(v.uses_count, 0), 0),
           v.expires_at, v.revoked_at, person.id, coalesce(v.created_at, now()), coalesce(v.updated_at, v.created_at, now())
    FROM raven_original.agent_invites v
    LEFT JOIN users person ON person.id = v.created_by
    WHERE v.token IS NOT NULL;
    INSERT INTO raven_original.notes
        SELECT 'agent_invites', v.id, 'changed', 'permissions that are in no catalogue were left out'
        FROM raven_original.agent_invites v
        WHERE EXISTS (SELECT FROM unnest(v.permissions) AS p WHERE p <> 'search' AND p <> ALL (known))
        UNION ALL
        SELECT 'agent_invites', v.id, 'changed', 'a negative number of remaining uses became 0'
        FROM raven_original.agent_invites v WHERE v.uses_remaining < 0;
    -- This writes the table anew: an update would leave the tokens in its pages.
    ALTER TABLE raven_original.agent_invites ALTER COLUMN token TYPE varchar
        USING CASE WHEN revoked_at IS NULL AND (expires_at <= now()) IS NOT TRUE AND (uses_remaining <= 0) IS NOT TRUE THEN token END;

    -- Agents (D-43). In the original a revocation overwrote time, person and reason of the decision (D-67): they are the
    -- revocation's, and the approval's time is looked up in the agent's activity. What is revoked is granted nothing.
    INSERT INTO parallax_agents (workspace_id, id, name, description, avatar_url, capabilities, status, requested_permissions,
                                 granted_permissions, metadata, endpoint, invite_id, requested_at, resolved_at, resolved_by, denial_reason,
                                 revoked_at, revoked_by, revocation_reason, created_at, updated_at)
    SELECT a.workspace_id, i.agent_id, coalesce(a.name, a.id), a.description, a.avatar_url,
           ARRAY(SELECT c FROM unnest(a.capabilities) WITH ORDINALITY AS list (c, place) WHERE c IS NOT NULL ORDER BY place),
           a.status::text,
           ARRAY(SELECT DISTINCT CASE p WHEN 'search' THEN 'execute:search' ELSE p END AS p FROM unnest(a.requested_permissions) AS p
                 WHERE p = 'search' OR p = ANY (known) ORDER BY p),
           CASE WHEN a.status::text = 'approved' THEN
               ARRAY(SELECT DISTINCT CASE p WHEN 'search' THEN 'execute:search' ELSE p END AS p FROM unnest(a.granted_permissions) AS p
                     WHERE p = 'search' OR p = ANY (known) ORDER BY p)
               ELSE '{}' END,
           CASE jsonb_typeof(a.metadata) WHEN 'object' THEN a.metadata WHEN 'null' THEN '{}' ELSE
               CASE WHEN a.metadata IS NULL THEN '{}' ELSE jsonb_build_object('original', a.metadata) END END
               || CASE WHEN i.agent_id = i.original_id THEN '{}' ELSE jsonb_build_object('originalId', i.original_id) END
               || CASE WHEN other.permissions = '{}' THEN '{}' ELSE jsonb_build_object('originalPermissions', other.permissions) END,
           a.endpoint, invite.id, coalesce(a.requested_at, a.created_at, now()),
           CASE a.status::text
               WHEN 'pending' THEN NULL
               WHEN 'revoked' THEN coalesce(approval.at, a.requested_at, a.created_at, now())
               ELSE coalesce(a.resolved_at, a.updated_at, now())
           END,
           CASE WHEN a.status::text IN ('approved', 'denied') THEN resolver.id END,
           CASE WHEN a.status::text = 'denied' THEN coalesce(a.denial_reason, '') END,
           CASE WHEN a.status::text = 'revoked' THEN coalesce(a.resolved_at, a.updated_at, now()) END,
           CASE WHEN a.status::text = 'revoked' THEN resolver.id END,
           CASE WHEN a.status::text = 'revoked' THEN a.denial_reason END,
           coalesce(a.created_at, now()), coalesce(a.updated_at, a.created_at, now())
    FROM raven_original.parallax_agents a
    JOIN raven_original.agent_ids i ON i.workspace_id = a.workspace_id AND i.original_id = a.id
    LEFT JOIN agent_invites invite ON invite.id = a.invite_id
    LEFT JOIN users resolver ON resolver.id = a.resolved_by
    LEFT JOIN LATERAL (
        SELECT max(x.created_at) AS at FROM raven_original.parallax_agent_activity x
        WHERE x.workspace_id = a.workspace_id AND x.agent_id = a.id AND x.activity_type = 'access_approved'
    ) approval ON true
    CROSS JOIN LATERAL (
        SELECT ARRAY(SELECT DISTINCT p FROM unnest(a.requested_permissions || a.granted_permissions) AS p
                     WHERE p <> 'search' AND p <> ALL (known) ORDER BY p) AS permissions
    ) other;
    INSERT INTO raven_original.notes
        SELECT 'parallax_agents', original_id, 'changed', 'permissions that are in no catalogue were moved to its metadata'
        FROM parallax_agents a JOIN raven_original.agent_ids i ON i.workspace_id = a.workspace_id AND i.agent_id = a.id
        WHERE a.metadata ? 'originalPermissions';

    -- Assignments (D-46). Of several that say the same, the first stands and the others ended when they began. What a
    -- revoked agent was assigned to ended with the revocation.
    WITH judged AS (
        SELECT x.id, x.workspace_id, a.id AS agent_id, a.status, a.revoked_at, target.project_id, target.task_id, x.role::text AS role,
               coalesce(x.assigned_at, x.unassigned_at, a.created_at) AS assigned_at, person.id AS assigned_by, x.unassigned_at,
               row_number() OVER (
                   PARTITION BY x.workspace_id, x.agent_id, target.project_id, target.task_id, x.unassigned_at IS NULL
                   ORDER BY x.assigned_at, x.id
               ) AS place,
               CASE
                   WHEN a.id IS NULL THEN 'its agent is not one of its workspace'
                   WHEN num_nonnulls(target.project_id, target.task_id) = 0 THEN 'it has neither a project nor a task'
                   WHEN num_nonnulls(project.id, task.id) = 0 THEN 'its project or task is not one of its workspace'
               END AS reason
        FROM raven_original.parallax_agent_assignments x
        LEFT JOIN raven_original.agent_ids i ON i.workspace_id = x.workspace_id AND i.original_id = x.agent_id
        LEFT JOIN parallax_agents a ON a.workspace_id = i.workspace_id AND a.id = i.agent_id
        LEFT JOIN users person ON person.id = x.assigned_by
        -- What it is about is what it has; the type decides only where it has both.
        CROSS JOIN LATERAL (
            SELECT CASE WHEN x.task_id IS NULL OR x.assignment_type::text = 'project' THEN x.project_id END AS project_id,
                   CASE WHEN x.project_id IS NULL OR x.assignment_type::text = 'task' THEN x.task_id END AS task_id
        ) target
        LEFT JOIN projects project ON project.id = target.project_id AND project.workspace_id = x.workspace_id
        LEFT JOIN tasks task ON task.id = target.task_id AND task.workspace_id = x.workspace_id
    ), copied AS (
        INSERT INTO parallax_agent_assignments (id, agent_id, workspace_id, assignment_type, project_id, task_id, role, assigned_at,
                                                assigned_by, unassigned_at)
        SELECT id, agent_id, workspace_id, CASE WHEN task_id IS NULL THEN 'project' ELSE 'task' END, project_id, task_id,
               CASE role WHEN 'lead' THEN 'lead' ELSE 'member' END, assigned_at, assigned_by,
               CASE
                   WHEN unassigned_at IS NOT NULL THEN unassigned_at
                   WHEN place > 1 THEN assigned_at
                   WHEN status = 'revoked' THEN greatest(revoked_at, assigned_at)
               END
        FROM judged WHERE reason IS NULL
    )
    INSERT INTO raven_original.notes
        SELECT 'parallax_agent_assignments', id, 'set_aside', reason FROM judged WHERE reason IS NOT NULL
        UNION ALL
        SELECT 'parallax_agent_assignments', id, 'changed', 'it repeats an active assignment and ended'
        FROM judged WHERE reason IS NULL AND unassigned_at IS NULL AND place > 1
        UNION ALL
        SELECT 'parallax_agent_assignments', id, 'changed', 'its agent is revoked and it ended'
        FROM judged WHERE reason IS NULL AND unassigned_at IS NULL AND place = 1 AND status = 'revoked';

    -- Activity is an audit trail: every row, also of agents that are gone (D-61).
    INSERT INTO parallax_agent_activity (id, agent_id, workspace_id, activity_type, description, metadata, project_id, task_id, page_id, created_at)
    SELECT x.id, i.agent_id, x.workspace_id, x.activity_type, x.description, coalesce(x.metadata, '{}'), project.id, task.id, page.id, x.created_at
    FROM raven_original.parallax_agent_activity x
    LEFT JOIN raven_original.agent_ids i ON i.workspace_id = x.workspace_id AND i.original_id = x.agent_id
    LEFT JOIN projects project ON project.id = x.project_id
    LEFT JOIN tasks task ON task.id = x.task_id
    LEFT JOIN pages page ON page.id = x.page_id;

    -- Daily counts. In the original several rows without an agent could count the same; here their counts are one.
    WITH counted AS (
        SELECT x.*, i.agent_id AS new_agent_id,
               row_number() OVER same AS place, sum(x.count) OVER same AS total
        FROM raven_original.parallax_agent_activity_daily x
        LEFT JOIN raven_original.agent_ids i ON i.workspace_id = x.workspace_id AND i.original_id = x.agent_id
        WINDOW same AS (
            PARTITION BY x.workspace_id, x.agent_id, x.activity_date, x.activity_type
            ORDER BY x.id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        )
    ), copied AS (
        INSERT INTO parallax_agent_activity_daily (id, agent_id, workspace_id, activity_date, activity_type, count, sample_metadata)
        SELECT id, new_agent_id, workspace_id, activity_date, activity_type, least(total, 2147483647), coalesce(sample_metadata, '[]')
        FROM counted WHERE place = 1
    )
    INSERT INTO raven_original.notes
        SELECT 'parallax_agent_activity_daily', id, 'merged', 'it was counted in with another row of the same day' FROM counted WHERE place > 1;

    -- Terminal sessions. An agent has one that is alive, and a runtime's id stands for one: the newest. The older ones
    -- ended, as did those of agents that are not approved.
    WITH numbered AS (
        SELECT s.*, i.agent_id AS new_agent_id, s.terminated_at IS NULL AND s.status::text <> 'terminated' AS was_open,
               coalesce(a.status = 'approved', true) AS may_live,
               row_number() OVER (
                   PARTITION BY s.workspace_id, s.runtime_session_id
                   ORDER BY s.terminated_at IS NULL AND s.status::text <> 'terminated' DESC, s.created_at DESC, s.id DESC
               ) AS runtime_place
        FROM raven_original.terminal_sessions s
        JOIN raven_original.agent_ids i ON i.workspace_id = s.workspace_id AND i.original_id = s.agent_id
        LEFT JOIN parallax_agents a ON a.workspace_id = i.workspace_id AND a.id = i.agent_id
    ), judged AS (
        SELECT n.*,
               n.was_open AND n.may_live AND n.runtime_place = 1 AND row_number() OVER (
                   PARTITION BY n.workspace_id, n.new_agent_id, n.was_open AND n.may_live AND n.runtime_place = 1
                   ORDER BY n.created_at DESC, n.id DESC
               ) = 1 AS lives
        FROM numbered n
    ), copied AS (
        INSERT INTO terminal_sessions (id, workspace_id, agent_id, runtime_session_id, status, title, cols, rows, runtime_endpoint,
                                       last_activity_at, metadata, created_at, updated_at, terminated_at)
        SELECT id, workspace_id, new_agent_id, runtime_session_id || CASE WHEN runtime_place > 1 THEN '#' || id ELSE '' END,
               CASE
                   WHEN NOT lives THEN 'terminated'
                   WHEN status::text IN ('pending', 'connecting', 'active', 'login_required') THEN status::text
                   ELSE 'disconnected'
               END,
               title,
               CASE WHEN cols >= 1 THEN least(cols, 1000) ELSE 80 END, CASE WHEN rows >= 1 THEN least(rows, 500) ELSE 24 END,
               runtime_endpoint, last_activity_at, coalesce(metadata, '{}'), created_at, updated_at,
               CASE WHEN NOT lives THEN coalesce(terminated_at, updated_at, now()) END
        FROM judged
    )
    INSERT INTO raven_original.notes
        SELECT 'terminal_sessions', id, 'changed',
               CASE WHEN may_live THEN 'a newer session of its agent or of its runtime stands for it, and it ended'
                    ELSE 'its agent is not approved, and it ended' END
        FROM judged WHERE was_open AND NOT lives
        UNION ALL
        SELECT 'terminal_sessions', id, 'changed', 'another session has the same runtime session id, and it got one of its own'
        FROM judged WHERE runtime_place > 1
        UNION ALL
        SELECT 'terminal_sessions', id, 'changed', 'its size is not possible and was corrected'
        FROM judged WHERE (cols BETWEEN 1 AND 1000 AND rows BETWEEN 1 AND 500) IS NOT TRUE;

    INSERT INTO terminal_session_logs (id, session_id, log_type, content, created_at)
    SELECT l.id, l.session_id, CASE WHEN l.log_type IN ('stdin', 'stdout', 'stderr', 'system') THEN l.log_type ELSE 'system' END, l.content, l.created_at
    FROM raven_original.terminal_session_logs l
    JOIN terminal_sessions s ON s.id = l.session_id;
    INSERT INTO raven_original.notes
        SELECT 'terminal_session_logs', id, 'changed', 'its type is not known and became system'
        FROM raven_original.terminal_session_logs WHERE log_type NOT IN ('stdin', 'stdout', 'stderr', 'system');

    -- Coding workspaces and swarms. A status that nobody knows is a fault, and stays in the metadata.
    INSERT INTO coding_workspaces (id, workspace_id, space_id, experiment_id, repo_url, branch, worktree_path, workspace_type, base_branch,
                                   status, pr_url, pr_number, commit_sha, error_message, config, metadata, provisioned_by, created_at,
                                   updated_at, cleaned_at)
    SELECT c.id, c.workspace_id, space.id, page.id, c.repo_url, c.branch, c.worktree_path, coalesce(c.workspace_type, 'worktree'),
           c.base_branch, CASE WHEN status.known THEN c.status ELSE 'error' END, c.pr_url, c.pr_number, c.commit_sha, c.error_message,
           coalesce(c.config, '{}'), coalesce(c.metadata, '{}')
               || CASE WHEN status.known THEN '{}' ELSE jsonb_build_object('originalStatus', c.status) END,
           person.id, c.created_at, c.updated_at, c.cleaned_at
    FROM raven_original.coding_workspaces c
    CROSS JOIN LATERAL (
        SELECT c.status IN ('pending', 'provisioning', 'ready', 'finalizing', 'finalized', 'cleaned', 'error') AS known
    ) status
    LEFT JOIN spaces space ON space.id = c.space_id
    LEFT JOIN pages page ON page.id = c.experiment_id
    LEFT JOIN users person ON person.id = c.provisioned_by;
    INSERT INTO swarm_executions (id, workspace_id, space_id, experiment_id, coding_workspace_id, agent_type, agent_id, runtime_session_id,
                                  terminal_session_id, task_description, task_context, status, output_summary, exit_code, results,
                                  files_changed, started_at, completed_at, error_message, config, metadata, triggered_by, created_at, updated_at)
    SELECT x.id, x.workspace_id, space.id, page.id, workspace.id, coalesce(x.agent_type, 'claude-code'), x.agent_id, x.runtime_session_id,
           session.id, x.task_description, coalesce(x.task_context, '{}'), CASE WHEN status.known THEN x.status ELSE 'failed' END,
           x.output_summary, x.exit_code, coalesce(x.results, '{}'), coalesce(x.files_changed, '[]'), x.started_at,
           CASE WHEN status.known THEN x.completed_at ELSE coalesce(x.completed_at, x.updated_at) END, x.error_message,
           coalesce(x.config, '{}'), coalesce(x.metadata, '{}')
               || CASE WHEN status.known THEN '{}' ELSE jsonb_build_object('originalStatus', x.status) END,
           person.id, x.created_at, x.updated_at
    FROM raven_original.swarm_executions x
    CROSS JOIN LATERAL (
        SELECT x.status IN (
            'pending', 'provisioning', 'spawning', 'running', 'capturing', 'finalizing', 'completed', 'failed', 'cancelled'
        ) AS known
    ) status
    LEFT JOIN spaces space ON space.id = x.space_id
    LEFT JOIN pages page ON page.id = x.experiment_id
    LEFT JOIN coding_workspaces workspace ON workspace.id = x.coding_workspace_id
    LEFT JOIN terminal_sessions session ON session.id = x.terminal_session_id
    LEFT JOIN users person ON person.id = x.triggered_by;
    INSERT INTO raven_original.notes
        SELECT 'coding_workspaces', id, 'changed', 'its status is not known and became error' FROM coding_workspaces WHERE metadata ? 'originalStatus'
        UNION ALL
        SELECT 'swarm_executions', id, 'changed', 'its status is not known and became failed' FROM swarm_executions WHERE metadata ? 'originalStatus';

    -- Keys (D-07, D-10, D-33, D-60). Whose account or workspace is gone has no key: it stays behind, and dead. A key of
    -- an account that stands for an agent is the agent's. One whose owner may not act is revoked now. The original
    -- kept no prefix, so what is shown is all that is known of it.
    WITH judged AS (
        SELECT k.id, person.id AS user_id, w.id AS workspace_id, coalesce(k.name, '') AS name, k.hashed_key, k.created_at::timestamptz AS created_at,
               k.last_used_at::timestamptz AS last_used_at, a.id AS agent_id, k.name ~ '^swarm-[0-9a-f]{8}' AS of_swarm, run.id AS run,
               CASE
                   WHEN person.id IS NULL OR w.id IS NULL THEN 'its account or its workspace is not there'
                   WHEN person.workspace_id IS DISTINCT FROM w.id THEN 'its account is one of another workspace'
                   WHEN w.deleted_at IS NOT NULL THEN 'its workspace is deleted'
                   WHEN person.deleted_at IS NOT NULL OR person.deactivated_at IS NOT NULL THEN 'its account is deleted or deactivated'
                   WHEN a.id IS NULL AND (account.user_id IS NOT NULL OR person.role = 'agent') THEN 'its agent is not there'
                   WHEN a.status <> 'approved' THEN 'its agent is ' || a.status
                   WHEN k.name ~ '^swarm-[0-9a-f]{8}' AND run.id IS NULL THEN 'its swarm run is over'
               END AS reason
        FROM raven_original.mcp_api_keys k
        LEFT JOIN users person ON person.id::text = lower(k.user_id::text)
        LEFT JOIN workspaces w ON w.id::text = lower(k.workspace_id::text)
        LEFT JOIN raven_original.agent_accounts account ON account.user_id = person.id AND account.workspace_id = w.id
        LEFT JOIN raven_original.agent_ids i ON i.workspace_id = account.workspace_id AND i.original_id = account.agent_id
        LEFT JOIN parallax_agents a ON a.workspace_id = i.workspace_id AND a.id = i.agent_id
        -- The name has the first 8 digits of the run's id, which runs of one minute share.
        LEFT JOIN LATERAL (
            SELECT x.id FROM swarm_executions x
            WHERE k.name ~ '^swarm-[0-9a-f]{8}' AND x.workspace_id = w.id AND left(x.id::text, 8) = substr(k.name, 7, 8)
              AND x.status IN ('pending', 'provisioning', 'spawning', 'running', 'capturing', 'finalizing')
            ORDER BY abs(extract(epoch FROM x.created_at - k.created_at::timestamptz)) LIMIT 1
        ) run ON true
    ), copied AS (
        INSERT INTO mcp_api_keys (id, user_id, workspace_id, name, hashed_key, key_prefix, kind, agent_id, swarm_execution_id, revoked_at,
                                  last_used_at, created_at)
        SELECT id, user_id, workspace_id, name, hashed_key, 'mcp_…',
               CASE WHEN of_swarm THEN 'swarm' WHEN agent_id IS NOT NULL THEN 'agent' ELSE 'user' END, agent_id, run,
               CASE WHEN reason IS NOT NULL THEN now() END, last_used_at, created_at
        FROM judged WHERE user_id IS NOT NULL AND workspace_id IS NOT NULL
    )
    INSERT INTO raven_original.notes
        SELECT 'mcp_api_keys', id, CASE WHEN user_id IS NULL OR workspace_id IS NULL THEN 'set_aside' ELSE 'revoked' END, reason
        FROM judged WHERE reason IS NOT NULL;
    UPDATE parallax_agents a SET mcp_api_key_id = newest.id
    FROM (
        SELECT DISTINCT ON (workspace_id, agent_id) workspace_id, agent_id, id
        FROM mcp_api_keys WHERE kind = 'agent' AND revoked_at IS NULL ORDER BY workspace_id, agent_id, created_at DESC, id
    ) newest
    WHERE a.workspace_id = newest.workspace_id AND a.id = newest.agent_id;

    -- Other tables' foreign keys hold again for what is written from now on. One to an agent's id alone has no
    -- counterpart, since an id is one workspace's (D-43): it stays in raven_original.foreign_keys.
    FOR named IN SELECT * FROM raven_original.foreign_keys LOOP
        BEGIN
            EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', named.host_table, named.name,
                           regexp_replace(named.definition, '\s+NOT VALID$', '') || ' NOT VALID');
        EXCEPTION WHEN invalid_foreign_key OR datatype_mismatch OR undefined_table OR undefined_column THEN
            INSERT INTO raven_original.notes
                VALUES (named.host_table, named.name, 'changed', 'a foreign key that has no counterpart was dropped: ' || named.definition);
        END;
    END LOOP;
END $$;
