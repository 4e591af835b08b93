/** The official TypeScript client of MCP, as an agent uses it. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { args, assert, assertEqual, call, main, ok, until } from './lib.mjs';

const [baseUrl, key, cookie] = args('base-url', 'key', 'cookie');

main(60_000, async () => {
  const scout = await connect('/api/mcp', key);
  assertEqual(scout.getServerVersion().name, 'raven-agents', 'the server');
  assert(scout.getInstructions().includes('agent_my_assignments'), 'the instructions are missing');
  const names = (await scout.listTools()).tools.map(({ name }) => name);
  assert(names.includes('agent_profile') && !names.includes('agent_claim_task'), `tools: ${names}`);
  ok('initialize, and tools/list with what the key may call');

  assertEqual(read(await scout.callTool({ name: 'agent_profile', arguments: {} })).id, 'scout', 'the profile');
  const wrong = await scout.callTool({ name: 'agent_update_status', arguments: { status: 'asleep' } });
  assert(wrong.isError && read(wrong).data.errors[0].field === 'status', JSON.stringify(wrong));
  const unknown = await scout.callTool({ name: 'no_such_tool', arguments: {} });
  assert(unknown.isError && read(unknown).code === -32601, JSON.stringify(unknown));
  const refused = await failure(scout.callTool({ name: 'agent_claim_task', arguments: { taskId: 'x' } }));
  assert(/403|write:tasks/.test(`${refused.code} ${refused.message}`), `${refused}`);
  ok('tools/call: results, wrong arguments, unknown tools, missing permissions');

  const { resources } = await scout.listResources();
  assert(resources.some(({ uri }) => uri === 'ravendocs://agent'), JSON.stringify(resources));
  const { contents } = await scout.readResource({ uri: 'ravendocs://agent' });
  assertEqual(JSON.parse(contents[0].text).id, 'scout', 'the resource');
  const prompt = await scout.getPrompt({ name: 'create_documentation', arguments: { topic: 'Deployments' } });
  assert(prompt.messages[0].content.text.includes('Deployments'), JSON.stringify(prompt));
  ok('resources and prompts');

  const calls = Array.from({ length: 20 }, () => scout.callTool({ name: 'tool_categories', arguments: {} }));
  assert((await Promise.all(calls)).every(({ isError }) => !isError), 'one of many calls at once failed');
  await scout.close();
  const again = await connect('/mcp', key);
  assertEqual(read(await again.callTool({ name: 'agent_profile', arguments: {} })).id, 'scout', 'the profile after a reconnect');
  ok('many calls at once, and a reconnect by the other path');

  const older = await connect('/api/mcp', key, asOlder);
  assertEqual(older.transport.protocolVersion, '2025-06-18', 'the version that was agreed upon');
  assert((await older.listTools()).tools.length > 0, 'there are no tools in 2025-06-18');
  const lacking = await older.callTool({ name: 'agent_claim_task', arguments: { taskId: 'x' } });
  assert(lacking.isError && read(lacking).code === -32002, JSON.stringify(lacking));
  assertEqual(read(await older.callTool({ name: 'agent_profile', arguments: {} })).id, 'scout', 'the profile in 2025-06-18');
  ok('2025-06-18: greeted, tools, results, and a missing permission as a result');

  isRefusal(await failure(connect('/api/mcp', `mcp_agent_${'0'.repeat(64)}`)));
  const clients = [again, older, await connect('/api/mcp', key)];
  const streams = [...clients, ...clients].map(callOn);
  await until('every client to be at work', () => streams.every(({ done }) => done > 0));
  await call(baseUrl, cookie, 'POST', '/api/parallax-agents/scout/revoke', { reason: 'the test' });
  const doneBefore = streams.map(({ done }) => done);
  for (const client of clients) isRefusal(await failure(client.callTool({ name: 'agent_profile', arguments: {} })));
  for (const { ended } of streams) isRefusal(await ended);
  // A call that was under way may still have been answered, and none that began later.
  assert(streams.every(({ done }, at) => done <= doneBefore[at] + 1), 'a call went through after the revocation');
  for (const path of ['/api/mcp', '/mcp']) for (const fetch of [undefined, asOlder]) isRefusal(await failure(connect(path, key, fetch)));
  ok('wrong keys are refused, and a revoked one while its calls are under way and when its client connects again');
});

/** Calls on and on until a call fails; `ended` is what it failed with. */
function callOn(client) {
  const stream = { done: 0 };
  stream.ended = (async () => {
    for (;;) {
      try {
        await client.callTool({ name: 'agent_profile', arguments: {} });
      } catch (error) {
        return error;
      }
      stream.done += 1;
    }
  })();
  return stream;
}

/** Fails unless it is the answer to a key that is not good, and not a wait that ended or a lost connection. */
function isRefusal(error) {
  assertEqual(error.code, 401, `the status of: ${error}`);
}

/** Asks for the oldest version that the service speaks: the client has no option for it. */
const asOlder = (url, init) => fetch(url, { ...init, body: init.body?.replace('"protocolVersion":"2025-11-25"', '"protocolVersion":"2025-06-18"') });

/** A client that has been greeted. */
async function connect(path, apiKey, fetch) {
  const client = new Client({ name: 'raven-agents-tests', version: '1.0.0' });
  const requestInit = { headers: { authorization: `Bearer ${apiKey}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(path, baseUrl), { requestInit, fetch }));
  return client;
}

/** A tool's text as JSON. */
const read = ({ content }) => JSON.parse(content[0].text);

/** What a promise is rejected with. */
async function failure(promise) {
  let done;
  try {
    done = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`that should have failed: ${JSON.stringify(done)}`);
}
