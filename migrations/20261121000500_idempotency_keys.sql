-- Requests that carried an `Idempotency-Key`, so that asking again gives the first answer again and does
-- nothing twice. Creates one table only; takes no lock that anybody waits for.

CREATE TABLE idempotency_keys (
    -- SHA-256 of operation, caller and key: neither a key nor a credential is kept.
    id varchar CONSTRAINT idempotency_keys_pkey PRIMARY KEY,
    operation varchar NOT NULL,
    -- SHA-256 of the request's body.
    body_hash varchar NOT NULL,
    -- Who carries it out. A request that takes over one that was never finished has another.
    attempt uuid NOT NULL,
    started_at timestamptz NOT NULL,
    -- Moved on while it is carried out.
    alive_at timestamptz NOT NULL,
    -- The answer, sealed for this row: it may hold an API key or an invite token.
    status integer,
    answer_enc bytea,
    CONSTRAINT idempotency_keys_answer_check CHECK ((status IS NULL) = (answer_enc IS NULL))
);
CREATE INDEX idempotency_keys_started_at_idx ON idempotency_keys (started_at);
