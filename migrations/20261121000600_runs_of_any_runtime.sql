-- What is known of a run beyond its status: how a person logs the agent in, an end that a runtime told of and that
-- nothing has confirmed yet, and whether a person has taken over. Adds columns without or with a constant default
-- and a partial index to agent_runs: a brief exclusive lock on it.

ALTER TABLE agent_runs
    ADD COLUMN login_instructions text,
    ADD COLUMN login_device_code varchar,
    -- Whether login_url leads to a host that the agent's type logs in at; no other is kept there.
    ADD COLUMN login_verified boolean NOT NULL DEFAULT false,
    -- An end that a runtime told of which reads ends off the screen: undecided while the time is set.
    ADD COLUMN stop_reported_at timestamptz,
    ADD COLUMN stop_reported_reason text,
    -- When such an end last turned out to be none.
    ADD COLUMN stop_refuted_at timestamptz,
    -- Since when a person has the agent's terminal to themselves; null while automation may act.
    ADD COLUMN paused_at timestamptz;

CREATE INDEX agent_runs_stop_reported_idx ON agent_runs (stop_reported_at) WHERE stop_reported_at IS NOT NULL AND stopped_at IS NULL;
