-- Links by which members of a workspace watch one terminal for a while, and who controls a terminal. Creates a
-- table and adds two columns without a default to terminal_sessions: an exclusive lock on it for a moment.

CREATE TABLE terminal_shares (
    id uuid PRIMARY KEY DEFAULT gen_uuid_v7(),
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    session_id uuid NOT NULL REFERENCES terminal_sessions (id) ON DELETE CASCADE,
    -- SHA-256 of the token in hex; the token itself is shown once and kept nowhere.
    token_hash varchar NOT NULL CONSTRAINT terminal_shares_token_hash_key UNIQUE,
    created_by uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_by uuid REFERENCES users (id) ON DELETE SET NULL,
    CONSTRAINT terminal_shares_lifetime_check CHECK (created_at < expires_at)
);
CREATE INDEX terminal_shares_session_idx ON terminal_shares (session_id, created_at DESC);

-- Who controls the terminal, so that a restart of the service gives it to nobody else at once.
ALTER TABLE terminal_sessions
    ADD COLUMN controller_user_id uuid REFERENCES users (id) ON DELETE SET NULL,
    ADD COLUMN controller_since timestamptz;
