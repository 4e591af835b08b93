-- Columns of the knowledge base that this service reads and that a database of an earlier Raven Docs may
-- lack; the next migration puts indexes on some of them. Without such a database there is nothing to do.
-- Locks: ACCESS EXCLUSIVE on a table that lacks a column, for a catalogue change and no rewrite.

DO $$
DECLARE
    missing record;
BEGIN
    IF to_regclass('tasks') IS NOT NULL AND to_regtype('task_bucket') IS NULL THEN
        CREATE TYPE task_bucket AS ENUM ('none', 'inbox', 'waiting', 'someday');
    END IF;
    FOR missing IN
        SELECT wanted.host, wanted.name, wanted.definition
        FROM (VALUES
            ('workspaces', 'description', 'varchar'),
            ('workspaces', 'logo', 'varchar'),
            ('workspaces', 'hostname', 'varchar'),
            ('workspaces', 'custom_domain', 'varchar'),
            ('workspaces', 'settings', 'jsonb'),
            ('workspaces', 'email_domains', 'varchar[] DEFAULT ''{}'''),
            ('workspaces', 'default_space_id', 'uuid'),
            ('workspaces', 'status', 'varchar'),
            ('workspaces', 'plan', 'varchar'),
            ('workspaces', 'license_key', 'varchar'),
            ('workspaces', 'enforce_sso', 'boolean NOT NULL DEFAULT false'),
            ('workspaces', 'trial_end_at', 'timestamptz'),
            ('workspaces', 'deleted_at', 'timestamptz'),
            ('users', 'email_verified_at', 'timestamptz'),
            ('users', 'avatar_url', 'varchar'),
            ('users', 'role', 'varchar'),
            ('users', 'locale', 'varchar'),
            ('users', 'timezone', 'varchar'),
            ('users', 'settings', 'jsonb'),
            ('users', 'last_active_at', 'timestamptz'),
            ('users', 'last_login_at', 'timestamptz'),
            ('users', 'deactivated_at', 'timestamptz'),
            ('users', 'deleted_at', 'timestamptz'),
            ('users', 'agent_id', 'varchar'),
            ('groups', 'deleted_at', 'timestamptz'),
            ('spaces', 'deleted_at', 'timestamptz'),
            ('space_members', 'deleted_at', 'timestamptz'),
            ('pages', 'text_content', 'text'),
            ('pages', 'tsv', 'tsvector'),
            ('pages', 'is_locked', 'boolean NOT NULL DEFAULT false'),
            ('pages', 'contributor_ids', 'uuid[] DEFAULT ''{}'''),
            ('pages', 'agent_accessible', 'boolean DEFAULT true'),
            ('pages', 'page_type', 'varchar(50)'),
            ('pages', 'metadata', 'jsonb'),
            ('pages', 'deleted_at', 'timestamptz'),
            ('projects', 'is_archived', 'boolean NOT NULL DEFAULT false'),
            ('projects', 'cover_image', 'text'),
            ('projects', 'home_page_id', 'uuid'),
            ('projects', 'agent_live', 'boolean DEFAULT false'),
            ('projects', 'agent_live_changed_at', 'timestamptz'),
            ('projects', 'agent_live_changed_by', 'uuid'),
            ('projects', 'deleted_at', 'timestamptz'),
            ('tasks', 'bucket', 'task_bucket NOT NULL DEFAULT ''none'''),
            ('tasks', 'completed_at', 'timestamptz'),
            ('tasks', 'estimated_time', 'integer'),
            ('tasks', 'page_task_id', 'text'),
            ('tasks', 'agent_live', 'boolean'),
            ('tasks', 'agent_accessible', 'boolean'),
            ('tasks', 'deleted_at', 'timestamptz'),
            ('comments', 'resolved_at', 'timestamptz'),
            ('comments', 'deleted_at', 'timestamptz')
        ) AS wanted (host, name, definition)
        WHERE to_regclass(wanted.host) IS NOT NULL
          AND NOT EXISTS (
              SELECT FROM pg_attribute a
              WHERE a.attrelid = to_regclass(wanted.host) AND a.attname = wanted.name AND NOT a.attisdropped
          )
    LOOP
        EXECUTE format('ALTER TABLE %I ADD COLUMN %I %s', missing.host, missing.name, missing.definition);
    END LOOP;
END $$;
