-- Recordings of terminals, and the secrets that were seen in them. Creates tables only: locks nothing that is used,
-- but for a brief share row exclusive lock on terminal_sessions and workspaces, which they refer to.

-- What is recorded of a session. Who writes moves next_seq and end_offset on in the same statement that checks them,
-- so that nothing is written twice.
CREATE TABLE terminal_recordings (
    session_id uuid PRIMARY KEY REFERENCES terminal_sessions (id) ON DELETE CASCADE,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    agent_id varchar NOT NULL,
    next_seq bigint NOT NULL DEFAULT 0,
    -- The part that is kept, in bytes since the process's first.
    from_offset bigint NOT NULL DEFAULT 0,
    end_offset bigint NOT NULL DEFAULT 0,
    -- Bytes of output that are kept, what they take, and how many are missing in between.
    bytes bigint NOT NULL DEFAULT 0,
    stored_bytes bigint NOT NULL DEFAULT 0,
    lost_bytes bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    ended_at timestamptz,
    pruned_at timestamptz,
    deleted_at timestamptz,
    CONSTRAINT terminal_recordings_offsets_check CHECK (0 <= from_offset AND from_offset <= end_offset)
);
CREATE INDEX terminal_recordings_agent_idx ON terminal_recordings (workspace_id, agent_id, started_at DESC, session_id DESC);

CREATE TABLE terminal_segments (
    session_id uuid NOT NULL REFERENCES terminal_recordings (session_id) ON DELETE CASCADE,
    -- Of a merged segment the number of its last piece; first_seq is that of its first.
    seq bigint NOT NULL,
    first_seq bigint NOT NULL,
    from_offset bigint NOT NULL,
    to_offset bigint NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    cols integer NOT NULL,
    rows integer NOT NULL,
    bytes bigint NOT NULL,
    outputs integer NOT NULL,
    lost_bytes bigint NOT NULL,
    merged boolean NOT NULL DEFAULT false,
    -- Moments, packed with zstd (src/model/recording.rs).
    moments bytea NOT NULL,
    CONSTRAINT terminal_segments_pkey PRIMARY KEY (session_id, seq),
    CONSTRAINT terminal_segments_offsets_check CHECK (0 <= from_offset AND from_offset <= to_offset)
);
-- It is compressed already.
ALTER TABLE terminal_segments ALTER COLUMN moments SET STORAGE EXTERNAL;
CREATE INDEX terminal_segments_unmerged_idx ON terminal_segments (session_id, seq) WHERE NOT merged;
CREATE INDEX terminal_segments_ended_idx ON terminal_segments (ended_at);

-- Points of a recording that stand out: markers, and gaps with their length.
CREATE TABLE terminal_marks (
    session_id uuid NOT NULL REFERENCES terminal_recordings (session_id) ON DELETE CASCADE,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    "offset" bigint NOT NULL,
    text varchar,
    lost_bytes bigint,
    CONSTRAINT terminal_marks_kind_check CHECK ((text IS NULL) <> (lost_bytes IS NULL))
);
CREATE INDEX terminal_marks_idx ON terminal_marks (session_id, at, seq);

-- Issued secrets that a session showed, once each. A secret is named by its row's id.
CREATE TABLE terminal_leaks (
    session_id uuid NOT NULL REFERENCES terminal_sessions (id) ON DELETE CASCADE,
    kind varchar NOT NULL CONSTRAINT terminal_leaks_kind_check CHECK (kind IN ('key', 'invite', 'claim', 'share')),
    secret_id varchar NOT NULL,
    seen_at timestamptz NOT NULL,
    CONSTRAINT terminal_leaks_pkey PRIMARY KEY (session_id, kind, secret_id)
);
