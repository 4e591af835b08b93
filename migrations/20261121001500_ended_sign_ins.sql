-- Sign-ins that ended before their tokens: a person signed out, or an operator gave them another password. Every node is told.
-- Creates tables and triggers of its own, and locks nothing else than `users` for the references.

CREATE TABLE ended_sign_ins (
    -- SHA-256 of the token, in hexadecimal.
    token_hash varchar PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- When the token ends by itself: the row may be forgotten then.
    expires_at timestamptz NOT NULL
);
CREATE INDEX ended_sign_ins_expires_idx ON ended_sign_ins (expires_at);

-- All of a person's up to a moment.
CREATE TABLE sign_ins_ended_until (
    user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    -- Seconds since 1970, as tokens say when they were issued. Those issued up to then are good no more.
    issued_until bigint NOT NULL
);

CREATE FUNCTION raven_sign_in_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('raven_access', 'sign-in ' || NEW.workspace_id::text || ' ' || NEW.token_hash);
    RETURN NULL;
END $$;
CREATE TRIGGER raven_sign_in_ended AFTER INSERT ON ended_sign_ins FOR EACH ROW EXECUTE FUNCTION raven_sign_in_ended();

CREATE FUNCTION raven_sign_ins_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('raven_access', 'sign-ins ' || NEW.workspace_id::text || ' ' || NEW.user_id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER raven_sign_ins_ended AFTER INSERT OR UPDATE ON sign_ins_ended_until FOR EACH ROW EXECUTE FUNCTION raven_sign_ins_ended();
