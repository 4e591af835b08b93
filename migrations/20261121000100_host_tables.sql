-- Tables of the knowledge base that this service shares with Raven Docs, at the least that it needs.
-- Every statement tolerates that the table is there already, since the service may be put on top of
-- a database that Raven Docs made. Locks: none on existing tables beyond a catalogue look-up.

CREATE OR REPLACE FUNCTION gen_uuid_v7() RETURNS uuid
    LANGUAGE sql VOLATILE
AS $$
    SELECT encode(
        set_bit(
            set_bit(
                overlay(
                    uuid_send(gen_random_uuid())
                    PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                    FROM 1 FOR 6
                ),
                52, 1
            ),
            53, 1
        ),
        'hex'
    )::uuid
$$;

DO $$ BEGIN CREATE TYPE task_status AS ENUM ('todo', 'in_progress', 'in_review', 'done', 'blocked'); EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN CREATE TYPE task_priority AS ENUM ('low', 'medium', 'high', 'urgent'); EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN CREATE TYPE task_bucket AS ENUM ('none', 'inbox', 'waiting', 'someday'); EXCEPTION WHEN duplicate_object THEN NULL; END $$;

CREATE TABLE IF NOT EXISTS workspaces (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    name varchar,
    description varchar,
    logo varchar,
    hostname varchar CONSTRAINT workspaces_hostname_key UNIQUE,
    custom_domain varchar CONSTRAINT workspaces_custom_domain_key UNIQUE,
    settings jsonb,
    default_role varchar NOT NULL DEFAULT 'member',
    email_domains varchar[] DEFAULT '{}',
    default_space_id uuid,
    status varchar,
    plan varchar,
    license_key varchar,
    stripe_customer_id varchar,
    enforce_sso boolean NOT NULL DEFAULT false,
    trial_end_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);

CREATE TABLE IF NOT EXISTS users (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    name varchar,
    email varchar NOT NULL,
    email_verified_at timestamptz,
    password varchar,
    avatar_url varchar,
    role varchar,
    invited_by_id uuid REFERENCES users (id) ON DELETE SET NULL,
    workspace_id uuid REFERENCES workspaces (id) ON DELETE CASCADE,
    locale varchar,
    timezone varchar,
    settings jsonb,
    last_active_at timestamptz,
    last_login_at timestamptz,
    deactivated_at timestamptz,
    agent_id varchar,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT users_email_workspace_id_unique UNIQUE (email, workspace_id)
);
CREATE INDEX IF NOT EXISTS users_agent_id_idx ON users (agent_id) WHERE agent_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS groups (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    name varchar NOT NULL,
    description text,
    is_default boolean NOT NULL,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    creator_id uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT groups_name_workspace_id_unique UNIQUE (name, workspace_id)
);

CREATE TABLE IF NOT EXISTS group_users (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_id uuid NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT group_users_group_id_user_id_unique UNIQUE (group_id, user_id)
);

CREATE TABLE IF NOT EXISTS spaces (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    name varchar,
    description text,
    slug varchar NOT NULL,
    logo varchar,
    visibility varchar NOT NULL DEFAULT 'private',
    default_role varchar NOT NULL DEFAULT 'writer',
    creator_id uuid REFERENCES users (id) ON DELETE SET NULL,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT spaces_slug_workspace_id_unique UNIQUE (slug, workspace_id)
);

DO $$ BEGIN
    ALTER TABLE workspaces ADD CONSTRAINT workspaces_default_space_id_fkey
        FOREIGN KEY (default_space_id) REFERENCES spaces (id) ON DELETE SET NULL;
EXCEPTION WHEN duplicate_object THEN NULL; END $$;

CREATE TABLE IF NOT EXISTS space_members (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    user_id uuid REFERENCES users (id) ON DELETE CASCADE,
    group_id uuid REFERENCES groups (id) ON DELETE CASCADE,
    space_id uuid NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    role varchar NOT NULL,
    added_by_id uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT space_members_space_id_user_id_unique UNIQUE (space_id, user_id),
    CONSTRAINT space_members_space_id_group_id_unique UNIQUE (space_id, group_id),
    CONSTRAINT allow_either_user_id_or_group_id_check CHECK (num_nonnulls(user_id, group_id) = 1)
);

CREATE TABLE IF NOT EXISTS pages (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    slug_id varchar NOT NULL CONSTRAINT pages_slug_id_key UNIQUE,
    title varchar,
    icon varchar,
    cover_photo varchar,
    position varchar,
    content jsonb,
    ydoc bytea,
    text_content text,
    tsv tsvector,
    parent_page_id uuid REFERENCES pages (id) ON DELETE CASCADE,
    creator_id uuid REFERENCES users (id) ON DELETE SET NULL,
    last_updated_by_id uuid REFERENCES users (id) ON DELETE SET NULL,
    deleted_by_id uuid REFERENCES users (id) ON DELETE SET NULL,
    space_id uuid NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    is_locked boolean NOT NULL DEFAULT false,
    contributor_ids uuid[] DEFAULT '{}',
    agent_accessible boolean DEFAULT true,
    page_type varchar(50),
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE INDEX IF NOT EXISTS idx_pages_agent_accessible ON pages (agent_accessible);
CREATE INDEX IF NOT EXISTS pages_tsv_idx ON pages USING gin (tsv);

CREATE TABLE IF NOT EXISTS projects (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    name varchar NOT NULL,
    description text,
    icon varchar,
    color varchar,
    is_archived boolean NOT NULL DEFAULT false,
    start_date timestamptz,
    end_date timestamptz,
    space_id uuid NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    creator_id uuid REFERENCES users (id) ON DELETE SET NULL,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    cover_image text,
    home_page_id uuid REFERENCES pages (id) ON DELETE SET NULL,
    agent_live boolean DEFAULT false,
    agent_live_changed_at timestamptz,
    agent_live_changed_by uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE INDEX IF NOT EXISTS idx_projects_agent_live ON projects (agent_live);

CREATE TABLE IF NOT EXISTS tasks (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    title varchar NOT NULL,
    description text,
    status task_status NOT NULL DEFAULT 'todo',
    priority task_priority NOT NULL DEFAULT 'medium',
    bucket task_bucket NOT NULL DEFAULT 'none',
    position varchar,
    due_date timestamptz,
    is_completed boolean NOT NULL DEFAULT false,
    completed_at timestamptz,
    estimated_time integer,
    project_id uuid REFERENCES projects (id) ON DELETE CASCADE,
    parent_task_id uuid REFERENCES tasks (id) ON DELETE SET NULL,
    page_id uuid REFERENCES pages (id) ON DELETE SET NULL,
    page_task_id text,
    creator_id uuid REFERENCES users (id) ON DELETE SET NULL,
    assignee_id uuid REFERENCES users (id) ON DELETE SET NULL,
    space_id uuid NOT NULL REFERENCES spaces (id) ON DELETE CASCADE,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    agent_live boolean,
    agent_accessible boolean,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);

CREATE TABLE IF NOT EXISTS comments (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    content jsonb,
    selection varchar,
    type varchar,
    creator_id uuid REFERENCES users (id) ON DELETE SET NULL,
    page_id uuid NOT NULL REFERENCES pages (id) ON DELETE CASCADE,
    parent_comment_id uuid REFERENCES comments (id) ON DELETE CASCADE,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    resolved_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    edited_at timestamptz,
    deleted_at timestamptz
);

CREATE TABLE IF NOT EXISTS agent_memories (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    workspace_id uuid NOT NULL,
    space_id uuid,
    creator_id uuid,
    source text,
    summary text,
    content jsonb,
    tags jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS user_tokens (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    token varchar NOT NULL,
    type varchar NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    workspace_id uuid REFERENCES workspaces (id) ON DELETE CASCADE,
    expires_at timestamptz,
    used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS workspace_invitations (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    email varchar,
    role varchar NOT NULL,
    token varchar NOT NULL,
    group_ids uuid[],
    invited_by_id uuid REFERENCES users (id) ON DELETE SET NULL,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT workspace_invitations_email_workspace_id_unique UNIQUE (email, workspace_id)
);
