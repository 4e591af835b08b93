// The peer of the MCP scenario: a server as the README of the official SDK makes a stateless one, with one tool, on
// the same database. Settings: DATABASE_URL, PORT; started and ended by the bench.

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import pg from 'pg';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

// Statements with a name are prepared once per connection, as the service's are.
const statements = {
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

async function holder({ headers: { authorization } }) {
  if (!authorization?.startsWith('Bearer ')) return undefined;
  const key = authorization.slice('Bearer '.length);
  const [found] = await ask('key', createHash('sha256').update(key).digest('hex'));
  if (found?.use_is_stale) await ask('touch', found.id);
  return found;
}

async function profile(caller) {
  const [agent] = await ask('agent', caller.workspace_id, caller.agent_id);
  const told = {
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
  return { content: [{ type: 'text', text: JSON.stringify(told, null, 2) }], isError: false };
}

async function answer(request, response) {
  const caller = await holder(request);
  if (!caller) return response.writeHead(401).end();
  const server = new McpServer({ name: 'peer', version: '1.0.0' });
  server.registerTool('agent_profile', { description: 'The profile of the agent that calls', inputSchema: {} }, () => profile(caller));
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined, enableJsonResponse: true });
  response.on('close', () => {
    void transport.close();
    void server.close();
  });
  await server.connect(transport);
  await transport.handleRequest(request, response);
}

const listener = createServer((request, response) => {
  if (request.url === '/health') return response.end('ok');
  answer(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});
process.once('SIGTERM', () => process.exit(0));
listener.listen(Number(process.env.PORT), '127.0.0.1');
