// The peer of the MCP scenario: a server as the README of the official SDK makes a stateless one, with one tool, on
// the same database. Settings: DATABASE_URL, PORT; started and ended by the bench.

import { createServer } from 'node:http';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { holder, profile } from './agents.js';

async function called(caller) {
  return { content: [{ type: 'text', text: JSON.stringify(await profile(caller), null, 2) }], isError: false };
}

async function answer(request, response) {
  const caller = await holder(request);
  if (!caller) return response.writeHead(401).end();
  const server = new McpServer({ name: 'peer', version: '1.0.0' });
  server.registerTool('agent_profile', { description: 'The profile of the agent that calls', inputSchema: {} }, () => called(caller));
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
