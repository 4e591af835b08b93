-- Which spaces an account belongs to, by itself or by a group, and as what: one condition for every query that
-- is limited to them. A function and no view, since its body is no dependency: the tables belong to Raven Docs,
-- whose own migrations may change them. It is STABLE and plain, so that the planner puts it in line.
-- Locks: SHARE on the tables that get an index, until it is built.

CREATE FUNCTION account_spaces(account uuid) RETURNS TABLE (space_id uuid, workspace_id uuid, role text)
    LANGUAGE sql STABLE
AS $$
    SELECT s.id, s.workspace_id,
           CASE WHEN bool_or(m.role = 'admin') THEN 'admin' WHEN bool_or(m.role = 'writer') THEN 'writer' ELSE 'reader' END
    FROM space_members m
    JOIN spaces s ON s.id = m.space_id
    WHERE m.deleted_at IS NULL AND s.deleted_at IS NULL
      AND (m.user_id = account
           OR m.group_id IN (SELECT x.group_id FROM group_users x JOIN groups g ON g.id = x.group_id
                             WHERE x.user_id = account AND g.deleted_at IS NULL))
    GROUP BY s.id
$$;

-- What lists of one space read: the host's own indexes may have others, never these names.
CREATE INDEX raven_agents_pages_space_idx ON pages (space_id, updated_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX raven_agents_pages_parent_idx ON pages (parent_page_id) WHERE deleted_at IS NULL;
CREATE INDEX raven_agents_tasks_space_idx ON tasks (space_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX raven_agents_comments_page_idx ON comments (page_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX raven_agents_memories_workspace_idx ON agent_memories (workspace_id, created_at DESC, id DESC);
CREATE INDEX raven_agents_activity_page_idx ON parallax_agent_activity (workspace_id, page_id, created_at DESC, id DESC)
    WHERE page_id IS NOT NULL;
