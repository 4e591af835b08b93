-- A run is found by what its runtime calls the agent, whichever runtime that is, and a session belongs to one run.
-- Detaches runs from a session that a later run took over, builds two indexes over agent_runs and drops one that no
-- query uses: writes to agent_runs wait while the indexes are built, and everything for a moment at the drop.

CREATE INDEX agent_runs_at_runtime_idx ON agent_runs (runtime_endpoint, runtime_agent_id);

UPDATE agent_runs r SET terminal_session_id = NULL
WHERE r.terminal_session_id IS NOT NULL
  AND EXISTS (SELECT FROM agent_runs n WHERE n.terminal_session_id = r.terminal_session_id AND (n.started_at, n.id) > (r.started_at, r.id));
CREATE UNIQUE INDEX agent_runs_terminal_session_key ON agent_runs (terminal_session_id) WHERE terminal_session_id IS NOT NULL;

DROP INDEX agent_runs_stop_reported_idx;
