// The peer: what a straightforward Node.js server does for the same two requests, on the same database.
// Settings: DATABASE_URL, PORT, APP_SECRET; started and ended by the bench.

import { createHash } from 'node:crypto';
import fastify from 'fastify';
import jwt from 'jsonwebtoken';
import pg from 'pg';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
const secret = process.env.APP_SECRET;

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

async function ask(name, ...values) {
  const { rows } = await pool.query({ name, text: statements[name], values });
  return rows;
}

function bearer(request) {
  const { authorization } = request.headers;
  return authorization?.startsWith('Bearer ') ? authorization.slice('Bearer '.length) : undefined;
}

function unauthorized(reply) {
  return reply.code(401).send({ statusCode: 401, code: 'UNAUTHORIZED', message: 'Unauthorized' });
}

async function person(request) {
  let claims;
  try {
    claims = jwt.verify(bearer(request), secret, { algorithms: ['HS256'] });
  } catch {
    return undefined;
  }
  if (claims.type !== 'access') return undefined;
  const [user] = await ask('user', claims.workspaceId, claims.sub);
  return user?.role === 'agent' ? undefined : user;
}

async function holder(request) {
  const key = bearer(request);
  if (!key) return undefined;
  const [found] = await ask('key', createHash('sha256').update(key).digest('hex'));
  if (found?.use_is_stale) await ask('touch', found.id);
  return found;
}

function shown(row, isAdmin) {
  return {
    id: row.id,
    workspaceId: row.workspace_id,
    name: row.name,
    description: row.description,
    avatarUrl: row.avatar_url,
    capabilities: row.capabilities,
    status: row.status,
    requestedPermissions: row.requested_permissions,
    grantedPermissions: row.granted_permissions,
    mcpApiKeyId: isAdmin ? row.mcp_api_key_id : null,
    metadata: isAdmin ? row.metadata : {},
    endpoint: isAdmin ? row.endpoint : null,
    inviteId: row.invite_id,
    requestedAt: row.requested_at,
    resolvedAt: row.resolved_at,
    resolvedBy: row.resolved_by,
    denialReason: isAdmin ? row.denial_reason : null,
    revokedAt: row.revoked_at,
    revocationReason: isAdmin ? row.revocation_reason : null,
    requestVersion: row.request_version,
    run: null,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

const app = fastify();

app.get('/health', async () => ({ status: 'ok' }));

app.get('/api/parallax-agents', async (request, reply) => {
  const user = await person(request);
  if (!user) return unauthorized(reply);
  const isAdmin = user.role === 'owner' || user.role === 'admin';
  const rows = await ask('agents', user.workspace_id);
  return { data: rows.map((row) => shown(row, isAdmin)), success: true, status: 200 };
});

app.post('/api/mcp-standard/call_tool', async (request, reply) => {
  const caller = await holder(request);
  if (!caller) return unauthorized(reply);
  if (request.body?.name !== 'agent_profile') {
    return reply.code(400).send({ statusCode: 400, code: 'VALIDATION_ERROR', message: 'unknown tool' });
  }
  const [agent] = await ask('agent', caller.workspace_id, caller.agent_id);
  const profile = {
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
  const result = { content: [{ type: 'text', text: JSON.stringify(profile, null, 2) }] };
  return { ...result, data: result, success: true, status: 200 };
});

process.once('SIGTERM', () => process.exit(0));
await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });
