-- Whoever decides is told which words are the caller's own, and a page of what waits ends by its bytes, which are counted
-- when a row is written. The arguments of calls that are over are not kept.
-- Locks: ACCESS EXCLUSIVE on mcp_approvals while it is rewritten, by then without those arguments.

UPDATE mcp_approvals SET params = '{}'
WHERE kind = 'call' AND (status IN ('rejected', 'consumed', 'expired') OR expires_at <= now());

ALTER TABLE mcp_approvals
    -- Whether the caller asked before it called: the reason is what it says then.
    ADD COLUMN in_advance boolean NOT NULL DEFAULT false,
    ADD COLUMN params_bytes integer NOT NULL GENERATED ALWAYS AS (octet_length(params::text)) STORED;
