-- People decide about two things that agents ask for: one call, or a permission for a while.
-- Locks: ACCESS EXCLUSIVE on mcp_approvals for the moment in which two columns without a rewrite are added.

ALTER TABLE mcp_approvals
    ADD COLUMN kind varchar NOT NULL DEFAULT 'call' CONSTRAINT mcp_approvals_kind_check CHECK (kind IN ('call', 'permission')),
    -- What the agent says it is for.
    ADD COLUMN reason text;

-- What an agent was granted for a while; looked for only when it lacks a permission.
CREATE INDEX mcp_approvals_grants_idx ON mcp_approvals (workspace_id, agent_id, expires_at) WHERE kind = 'permission' AND status = 'approved';

-- A key is remembered with its workspace's policy: a change of the policy is a change of what the key may do.
CREATE TRIGGER raven_workspace_policy_changed AFTER UPDATE ON workspaces FOR EACH ROW
    WHEN (OLD.settings #> '{agent,policy}' IS DISTINCT FROM NEW.settings #> '{agent,policy}'
          OR OLD.settings #> '{agent,allowTaskWrites}' IS DISTINCT FROM NEW.settings #> '{agent,allowTaskWrites}'
          OR OLD.settings #> '{agent,allowPageWrites}' IS DISTINCT FROM NEW.settings #> '{agent,allowPageWrites}'
          OR OLD.settings #> '{agent,allowProjectWrites}' IS DISTINCT FROM NEW.settings #> '{agent,allowProjectWrites}'
          OR OLD.settings #> '{agent,allowResearchWrites}' IS DISTINCT FROM NEW.settings #> '{agent,allowResearchWrites}')
    EXECUTE FUNCTION raven_workspace_changed();
