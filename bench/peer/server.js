// The peer: what a straightforward Node.js server does for the same two requests, on the same database.
// Settings: DATABASE_URL, PORT, APP_SECRET; started and ended by the bench.

import fastify from 'fastify';
import jwt from 'jsonwebtoken';
import { ask, bearer, holder, profile } from './agents.js';

const secret = process.env.APP_SECRET;

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
  const result = { content: [{ type: 'text', text: JSON.stringify(await profile(caller), null, 2) }] };
  return { ...result, data: result, success: true, status: 200 };
});

process.once('SIGTERM', () => process.exit(0));
await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });
