/** An agent's tool calls wait for its owner, who decides in the console. */
import { launch } from './chromium.mjs';
import { args, assert, assertEqual, main, ok, until, WAIT_MS } from './lib.mjs';

const [baseUrl, ownerCookie, key, spaceId] = args('base-url', 'owner-cookie', 'key', 'space-id');

main(90_000, async () => {
  const browser = await launch();
  try {
    const page = await open(browser);
    await approvesOneCall(page);
    await deniesAnother(page);
    await grantsAPermission(page);
    await endsAGrant(page);
    await saysWhoseWordsTheyAre(page);
    await leavesOnesOwnToOthers(page);
    await switchesWritesOn(page);
    await showsConfiguration(page);
  } finally {
    await browser.close();
  }
});

async function open(browser) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 } });
  context.setDefaultTimeout(WAIT_MS);
  const [name, value] = ownerCookie.split('=');
  await context.addCookies([{ name, value, url: baseUrl }]);
  const page = await context.newPage();
  await page.goto(`${baseUrl}/approvals`);
  await page.getByText('Nothing waits').waitFor();
  return page;
}

/** Calls a tool as the agent, or with another key; answers what its text says. */
async function tool(name, toolArguments, presented = key) {
  const response = await fetch(new URL('/api/mcp-standard/call_tool', baseUrl), {
    method: 'POST',
    headers: { authorization: `Bearer ${presented}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name, arguments: toolArguments }),
    signal: AbortSignal.timeout(WAIT_MS),
  });
  return JSON.parse((await response.json()).content[0].text);
}

const newTask = (title) => ({ title, spaceId });

/** Approves what a card is about, which is asked once more. */
async function approve(page, card) {
  await card.getByRole('button', { name: 'Approve' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
}

async function approvesOneCall(page) {
  const waiting = await tool('task_create', newTask('Write the minutes'));
  assertEqual(waiting.code, -32005, 'a call that waits');
  const card = page.getByRole('article', { name: 'task.create' });
  await card.getByText('Write the minutes').waitFor();
  await card.getByText('space General').waitFor();
  await card.getByText('allowTaskWrites is off').waitFor();
  await approve(page, card);
  await page.getByText('The caller may repeat exactly this call, once.').waitFor();
  await card.waitFor({ state: 'hidden' });
  const { approvalId } = waiting.data;
  const other = await tool('task_create', { ...newTask('Something else'), approvalId });
  assertEqual(other.code, -32002, 'another call with the same approval');
  const done = await tool('task_create', { ...newTask('Write the minutes'), approvalId });
  assertEqual(done.title, 'Write the minutes', 'the call that was approved');
  assertEqual((await tool('task_create', { ...newTask('Write the minutes'), approvalId })).code, -32002, 'the same a second time');
  ok('a call appears without a reload, is approved, and goes on once and exactly so');
}

async function deniesAnother(page) {
  const { data } = await tool('task_create', newTask('Delete everything'));
  const card = page.getByRole('article', { name: 'task.create' });
  await card.getByRole('button', { name: 'Deny' }).click();
  await card.waitFor({ state: 'hidden' });
  const refused = await tool('task_create', { ...newTask('Delete everything'), approvalId: data.approvalId });
  assertEqual(refused.code, -32002, 'a call that was denied');
  assertEqual((await tool('approval_status', { id: data.approvalId })).status, 'rejected', 'what the agent is told');
  ok('a call that is denied is refused, and the agent is told');
}

async function grantsAPermission(page) {
  const before = await tool('project_list', { spaceId });
  assertEqual(before.data.requiredPermissions, ['read:projects'], 'what is missing');
  await tool('approval_request', { permission: 'read:projects', minutes: 30, reason: 'to find the project' });
  const card = page.getByRole('article', { name: 'read:projects for 30 minutes' });
  await card.getByText('The agent says: to find the project').waitFor();
  await approve(page, card);
  await page.getByText('The agent has read:projects for 30 minutes.').waitFor();
  assert(Array.isArray((await tool('project_list', { spaceId })).projects), 'the permission was not granted');
  ok('a permission that an agent asks for is granted for a while');
}

async function endsAGrant(page) {
  await page.goto(`${baseUrl}/agents/scout`);
  const granted = page.getByRole('region', { name: 'Granted for a while' });
  await granted.getByText('read:projects').waitFor();
  await granted.getByText(/ends in (29|30) minutes/).waitFor();
  await granted.getByRole('button', { name: 'End read:projects' }).click();
  await page.getByText('no longer has read:projects').waitFor();
  await granted.waitFor({ state: 'hidden' });
  assertEqual((await tool('project_list', { spaceId })).data.requiredPermissions, ['read:projects'], 'what is missing again');
  await page.goto(`${baseUrl}/approvals`);
  await page.getByText('Nothing waits').waitFor();
  ok('what an agent was granted for a while is on its page, and ends there');
}

async function saysWhoseWordsTheyAre(page) {
  const hidden = crypto.randomUUID();
  const params = { taskId: hidden, title: 'Two\u2800words' };
  await tool('approval_request', { method: 'task_update', params, reason: 'it is\u200b harmless\u{e0100}' });
  const card = page.getByRole('article', { name: 'task.update' });
  await card.getByText('The agent says: it is\\u{200b} harmless\\u{e0100}').waitFor();
  await card.getByText('Two\\u{2800}words').waitFor();
  await card.getByText('not among what you see').waitFor();
  await card.getByRole('button', { name: 'Approve' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByText('The agent says: it is').waitFor();
  await dialog.getByText('not among what you see').waitFor();
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });
  await card.getByRole('button', { name: 'Deny' }).click();
  await card.waitFor({ state: 'hidden' });
  ok('what an agent says is told as its words, and what hides in a text is shown');
}

async function leavesOnesOwnToOthers(page) {
  const made = await fetch(new URL('/api/api-keys', baseUrl), {
    method: 'POST',
    headers: { cookie: ownerCookie, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'Own' }),
    signal: AbortSignal.timeout(WAIT_MS),
  });
  const own = (await made.json()).data.key;
  assertEqual((await tool('task_delete', { taskId: crypto.randomUUID() }, own)).code, -32005, 'a call of ones own that waits');
  const card = page.getByRole('article', { name: 'task.delete' });
  await card.getByText('another owner or admin approves it').waitFor();
  assertEqual(await card.getByRole('button', { name: 'Approve' }).count(), 0, 'buttons to approve ones own call');
  await card.getByRole('button', { name: 'Deny' }).click();
  await card.waitFor({ state: 'hidden' });
  ok('a call of ones own key is for others to approve, and ones own to take back');
}

async function switchesWritesOn(page) {
  await page.getByRole('link', { name: 'Settings' }).click();
  await page.getByRole('switch', { name: 'Agents create and change tasks without asking' }).check({ force: true });
  const form = page.locator('form', { hasText: 'Tools that wait for an approval' });
  await form.getByText('About task_create and task_update:').waitFor();
  for (const name of ['task_list', 'Task.moveToProject', 'page_mov*', 'research_create']) {
    await form.getByLabel('Tools that no agent may call').first().fill(name);
    await page.keyboard.press('Enter');
  }
  await form.getByText('No tool here is called research_create.').waitFor();
  assertEqual(await form.getByText('No tool here is called').count(), 1, 'names that mean no tool');
  await form.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Tool settings are saved.').waitFor();
  await until('a write that is switched on', async () => (await tool('task_create', newTask('No questions'))).title === 'No questions');
  await until('a tool that no agent may call', async () => (await tool('task_list', { spaceId })).code === -32002);
  ok('writes are switched on and tools are denied under Settings');
}

async function showsConfiguration(page) {
  await page.getByRole('link', { name: 'API keys' }).click();
  await page.getByRole('button', { name: 'Create API key' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('textbox', { name: 'Name' }).fill('Laptop');
  await dialog.getByRole('button', { name: 'Create' }).click();
  await dialog.getByText('This key is shown once.').waitFor();
  await dialog.getByRole('combobox', { name: 'Client' }).selectOption('Codex');
  await dialog.getByText('bearer_token_env_var').waitFor();
  assert((await dialog.textContent()).includes(`${baseUrl.replace(/\/$/, '')}/api/mcp`), 'the address is missing');
  ok('a new key comes with what makes a client know the service');
}
