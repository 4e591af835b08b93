// What the peers ask the database of agents, and whom a key belongs to. Setting: DATABASE_URL.

import { createHash } from 'node:crypto';
import pg from 'pg';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

// Statements with a name are prepared once per connection, as the service's are.
const statements = {
  user: `SELECT id, workspace_id, role FROM users
    WHERE workspace_id = $1 AND id = $2 AND deleted_at IS NULL AND deactivated_at IS NULL`,
  agents: `SELECT * FROM parallax_agents WHERE workspace_id = $1 ORDER BY created_at DESC, id LIMIT 500`,
  key: `SELECT k.id, k.workspace_id, k.agent_id,
      (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute') AS use_is_stale
    FROM mcp_api_keys k
    JOIN parallax_agents a ON a.workspace_id = k.workspace_id AND a.id = k.agent_id
    JOIN users u ON u.id = k.user_id AND u.workspace_id = k.workspace_id
    WHERE k.hashed_key = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR now() < k.expires_at)
      AND a.status = 'approved' AND u.deleted_at IS NULL AND u.deactivated_at IS NULL`,
  touch: `UPDATE mcp_api_keys SET last_used_at = now()
    WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')`,
  agent: `SELECT * FROM parallax_agents WHERE workspace_id = $1 AND id = $2`,
};

export async function ask(name, ...values) {
  const { rows } = await pool.query({ name, text: statements[name], values });
  return rows;
}

export function bearer({ headers: { authorization } }) {
  return authorization?.startsWith('Bearer ') ? authorization.slice('Bearer '.length) : undefined;
}

export async function holder(request) {
  const key = bearer(request);
  if (!key) return undefined;
  const [found] = await ask('key', createHash('sha256').update(key).digest('hex'));
  if (found?.use_is_stale) await ask('touch', found.id);
  return found;
}

// What the tool `agent_profile` tells its caller.
export async function profile(caller) {
  const [agent] = await ask('agent', caller.workspace_id, caller.agent_id);
  return {
    capabilities: agent.capabilities,
    createdAt: agent.created_at,
    endpoint: agent.endpoint,
    grantedPermissions: agent.granted_permissions,
    id: agent.id,
    metadata: agent.metadata,
    name: agent.name,
    requestedPermissions: agent.requested_permissions,
    resolvedAt: agent.resolved_at,
    resolvedBy: agent.resolved_by,
    status: agent.status,
  };
}
