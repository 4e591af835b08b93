-- Keys that rotate, news of changed rights, notifications to the control plane, deliveries of webhooks,
-- activity by project and by time. Adds columns with constant defaults and creates tables, indexes and triggers:
-- a brief exclusive lock on mcp_api_keys, share locks on users, parallax_agents and the activity while
-- the indexes are built.

ALTER TABLE mcp_api_keys ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();
-- The key that took its place; until `expires_at` both are good.
ALTER TABLE mcp_api_keys ADD COLUMN replaced_by varchar
    CONSTRAINT mcp_api_keys_replaced_by_fkey REFERENCES mcp_api_keys (id) ON DELETE SET NULL;

CREATE INDEX idx_parallax_activity_project ON parallax_agent_activity (workspace_id, project_id, created_at DESC, id DESC)
    WHERE project_id IS NOT NULL;

-- For the daily counts and the retention, which look at all workspaces at once.
CREATE INDEX idx_parallax_activity_created ON parallax_agent_activity (created_at);

-- Whoever changes what a credential may do, with or without this service, tells every node: the payload is
-- `<kind> <workspace> <id>`. Nodes drop what they remember and close the connections that it concerns.
CREATE FUNCTION raven_access_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('raven_access', TG_ARGV[0] || ' ' || OLD.workspace_id::text || ' ' || OLD.id::text);
    RETURN NULL;
END $$;

CREATE TRIGGER raven_agent_changed AFTER UPDATE ON parallax_agents FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.granted_permissions IS DISTINCT FROM NEW.granted_permissions)
    EXECUTE FUNCTION raven_access_changed('agent');
CREATE TRIGGER raven_agent_deleted AFTER DELETE ON parallax_agents FOR EACH ROW EXECUTE FUNCTION raven_access_changed('agent');

CREATE TRIGGER raven_key_changed AFTER UPDATE ON mcp_api_keys FOR EACH ROW
    WHEN (OLD.revoked_at IS DISTINCT FROM NEW.revoked_at OR OLD.expires_at IS DISTINCT FROM NEW.expires_at
          OR OLD.hashed_key IS DISTINCT FROM NEW.hashed_key OR OLD.user_id IS DISTINCT FROM NEW.user_id)
    EXECUTE FUNCTION raven_access_changed('key');
CREATE TRIGGER raven_key_deleted AFTER DELETE ON mcp_api_keys FOR EACH ROW EXECUTE FUNCTION raven_access_changed('key');

CREATE TRIGGER raven_user_changed AFTER UPDATE ON users FOR EACH ROW
    WHEN (OLD.role IS DISTINCT FROM NEW.role OR OLD.deactivated_at IS DISTINCT FROM NEW.deactivated_at
          OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at OR OLD.workspace_id IS DISTINCT FROM NEW.workspace_id)
    EXECUTE FUNCTION raven_access_changed('user');
CREATE TRIGGER raven_user_deleted AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION raven_access_changed('user');

CREATE FUNCTION raven_workspace_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('raven_access', 'workspace ' || OLD.id::text || ' ' || OLD.id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER raven_workspace_deleted AFTER UPDATE ON workspaces FOR EACH ROW
    WHEN (OLD.deleted_at IS DISTINCT FROM NEW.deleted_at) EXECUTE FUNCTION raven_workspace_changed();

-- Decisions on their way to the control plane, one row each, kept until delivered or given up.
CREATE TABLE control_plane_notifications (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    -- The event that it tells of.
    event_id uuid NOT NULL CONSTRAINT control_plane_notifications_event_id_key UNIQUE,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    agent_id varchar NOT NULL,
    decision varchar NOT NULL
        CONSTRAINT control_plane_notifications_decision_check CHECK (decision IN ('approved', 'denied', 'revoked')),
    body jsonb NOT NULL,
    -- The agent's key under AES-256-GCM, where the workspace wants it sent; dropped with the delivery.
    key_enc bytea,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error text,
    delivered_at timestamptz,
    given_up_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX control_plane_notifications_due_idx ON control_plane_notifications (next_attempt_at)
    WHERE delivered_at IS NULL AND given_up_at IS NULL;

-- Ids of signed webhooks that were taken in, so that none counts twice.
CREATE TABLE webhook_deliveries (
    id varchar PRIMARY KEY,
    -- When its latest attempt began; one that never ends is given up after a while.
    received_at timestamptz NOT NULL DEFAULT now(),
    taken_in_at timestamptz
);
CREATE INDEX webhook_deliveries_received_idx ON webhook_deliveries (received_at);
