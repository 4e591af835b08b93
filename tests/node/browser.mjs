/** The console in a real browser, from the first visit of a fresh service to the end of a terminal session. */
import { join } from 'node:path';
import { launch } from './chromium.mjs';
import { args, assert, assertEqual, call, main, ok, until, WAIT_MS } from './lib.mjs';

const [baseUrl] = args('base-url');

const OWNER = { workspace: 'Corvid Labs', name: 'Ada Lovelace', email: 'ada@example.com', password: 'never-more-1' };

/** Answers that the browser reports as errors and that belong to the visit. */
const EXPECTED = [
  ['/api/workspace/public', 404],
  ['/api/users/me', 404],
  ['/api/users/me', 401],
  ['/api/auth/login', 401],
  // A request for access that changed while somebody looked at it.
  ['/api/parallax-agents/critic/approve', 409],
];

main(180_000, async () => {
  const browser = await launch();
  const context = await browser.newContext({
    viewport: { width: 1200, height: 900 },
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  context.setDefaultTimeout(WAIT_MS);
  const problems = watch(context);
  const page = await context.newPage();
  try {
    await setsUp(page);
    await signsOutAndIn(page);
    await registersByInvite(page);
    await spawnsAnAgent(page);
    await usesTheTerminal(page);
    const second = await opensASecondTab(page);
    await reloads(page, second);
    await resizes(page);
    await stops(page, second);
    await second.close();
    await editsPermissions(page);
    await rotatesAKey(page);
    await keepsAnOwnKey(page);
    await changesASetting(page);
    await approvesAndRevokes(page);
    await filtersActivity(page);
    assertEqual(problems, [], 'errors of the pages');
    ok('no page had an error');
  } catch (error) {
    await showPages(context, problems);
    throw error;
  } finally {
    await browser.close();
  }
});

/** Collects what the pages report as errors. */
function watch(context) {
  const problems = [];
  context.on('weberror', (error) => problems.push(`uncaught: ${error.error()}`));
  context.on('console', (message) => {
    if (message.type() !== 'error') return;
    const path = message.location().url.replace(new URL(baseUrl).origin, '');
    const expected = EXPECTED.some(([known, status]) => path === known && message.text().includes(`status of ${status}`));
    if (!expected && path !== '/favicon.svg') problems.push(`console: ${message.text()} (${path})`);
  });
  return problems;
}

async function setsUp(page) {
  await page.goto(baseUrl);
  await page.getByRole('heading', { name: 'Welcome to Raven Agents' }).waitFor();
  ok('the first visit offers the setup');

  await page.getByLabel('Workspace name').fill(OWNER.workspace);
  await page.getByLabel('Your name').fill(OWNER.name);
  await page.getByLabel('Email').fill(OWNER.email);
  await page.getByLabel('Password').fill(OWNER.password);
  await page.getByRole('button', { name: 'Create workspace' }).click();
  await page.getByRole('heading', { name: 'Agents', exact: true }).waitFor();
  await page.getByText(OWNER.workspace).waitFor();
  ok('the setup creates the workspace and signs its owner in');

  const cookies = await page.context().cookies();
  assertEqual(cookies.length, 1, 'the number of cookies');
  const [{ name, httpOnly, path, secure }] = cookies;
  const expected = { name: 'authToken', httpOnly: true, path: '/', secure: baseUrl.startsWith('https:') };
  assertEqual({ name, httpOnly, path, secure }, expected, 'the session cookie');
  ok('the session cookie is HttpOnly, for the whole site, and Secure only under https');
}

async function signsOutAndIn(page) {
  await page.getByRole('button', { name: 'User menu' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  ok('signing out shows the sign-in page');

  await page.getByLabel('Email').fill(OWNER.email);
  await page.getByLabel('Password').fill('not the password');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').waitFor();
  await page.reload();
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  ok('a wrong password shows an error and signs nobody in');

  await page.getByLabel('Email').fill(OWNER.email);
  await page.getByLabel('Password').fill(OWNER.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('button', { name: 'Spawn agent' }).waitFor();
  ok('the right password signs in');
}

async function registersByInvite(page) {
  await page.getByRole('link', { name: 'Invites' }).click();
  await page.getByRole('button', { name: 'Create invite' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('CI agents');
  await dialog.getByRole('button', { name: 'Create' }).click();
  await page.getByRole('heading', { name: 'Invite "CI agents" is ready' }).waitFor();
  await dialog.getByRole('button', { name: 'Copy token' }).click();
  await dialog.getByRole('button', { name: 'Copied' }).waitFor();
  const inviteToken = await page.evaluate(() => navigator.clipboard.readText());
  assert((await dialog.innerText()).includes(inviteToken), `what was copied is not shown: ${inviteToken}`);
  await dialog.getByRole('button', { name: 'Done' }).click();
  ok('creating an invite shows its token and copies it');

  // The agents page is open before the agent comes, so the page must learn of it by itself.
  await page.getByRole('link', { name: 'Agents', exact: true }).click();
  await page.getByText('No agents yet').waitFor();
  const agent = { inviteToken, agentId: 'scout', name: 'Scout', capabilities: ['code'] };
  await call(baseUrl, null, 'POST', '/api/parallax-agents/register', agent);
  await page.getByRole('article', { name: 'Scout' }).getByText('Approved').waitFor();
  ok('an agent that registers with the token appears as approved, without a reload');
}

async function spawnsAnAgent(page) {
  await page.getByRole('button', { name: 'Spawn agent' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Agent type').selectOption('custom');
  await dialog.getByLabel('Name').fill('Shell');
  await dialog.getByLabel('Command').fill('sh');
  await dialog.getByRole('button', { name: 'Spawn' }).click();
  await page.getByRole('heading', { name: 'Shell' }).waitFor();
  ok('a custom agent can be spawned; its page opens');
  await connected(page);
  await page.getByText('Running', { exact: true }).waitFor();
  ok('its terminal connects and the agent is shown as running');
}

async function usesTheTerminal(page) {
  await type(page, 'echo "six times seven is $((6*7))"');
  await shows(page, 'six times seven is 42');
  ok('a typed command runs and its output is shown');

  await type(page, `printf 'pasted: %s.\\n' '`, '');
  await page.evaluate(() => navigator.clipboard.writeText('{"a":1}'));
  await page.keyboard.press('Control+Shift+V');
  await shows(page, `'{"a":1}`);
  await page.keyboard.type(`'`);
  await page.keyboard.press('Enter');
  await shows(page, 'pasted: {"a":1}.');
  ok('pasted JSON arrives as it is');

  // The console sends 16,000 UTF-16 units at once: the first cut would be between the halves of the snake.
  const long = `${'a'.repeat(15_999)}🐍${'b'.repeat(24_001)}`;
  await type(page, 'stty raw -echo; echo rea""dy; head -c 40004 | tr -d ab; stty sane; echo', 'Enter');
  await shows(page, 'ready');
  await page.evaluate((text) => navigator.clipboard.writeText(text), long);
  await page.keyboard.press('Control+Shift+V');
  await shows(page, '🐍');
  ok('a long paste arrives whole, wherever it is cut');

  // Octal, so that the typed line does not contain what is looked for.
  await type(page, `printf '\\360\\237\\246\\205 \\342\\224\\214\\342\\224\\200\\342\\224\\220 box\\n'`);
  await shows(page, '🦅 ┌─┐ box');
  assertEqual(count(await text(page), '🦅'), 1, 'how often the emoji is shown');
  assert(!(await text(page)).includes('\u{fffd}'), 'a replacement character is shown');
  ok('an emoji and box drawing are shown intact and once');
}

/** What the terminal must show once by now, on every page. */
const HISTORY = ['six times seven is 42', 'pasted: {"a":1}.', '🦅 ┌─┐ box'];

async function opensASecondTab(first) {
  const second = await first.context().newPage();
  await second.goto(first.url());
  await connected(second);
  await shows(second, HISTORY.at(-1));
  await showsOnce(second, HISTORY);
  await showsTheSame(first, second);
  ok('a second tab shows the same text, once');

  await first.bringToFront();
  await type(first, 'echo "live $((40+4))"');
  await shows(second, 'live 44');
  await second.bringToFront();
  await type(second, 'echo "back $((50+5))"');
  await shows(first, 'back 55');
  await showsTheSame(first, second);
  await showsOnce(second, ['live 44', 'back 55']);
  ok('both tabs may type and show what the other does');
  return second;
}

async function reloads(page, second) {
  await page.bringToFront();
  await page.reload();
  await connected(page);
  await shows(page, 'back 55');
  await showsOnce(page, [...HISTORY, 'live 44', 'back 55']);
  await showsTheSame(page, second);
  ok('after a reload everything is there once');
}

async function resizes(page) {
  const before = await size(page);
  await page.setViewportSize({ width: 700, height: 600 });
  const after = await until('another terminal size', async () => {
    const now = await size(page);
    return now !== before && now;
  });
  const columns = (size) => Number(size.split(' ')[1]);
  assert(columns(after) < columns(before), `the terminal went from ${before} to ${after} in a narrower window`);
  ok('the terminal takes the size of the window');
}

let sizesAsked = 0;

/** The size that programs in the terminal see, as "rows columns". */
async function size(page) {
  const number = ++sizesAsked;
  await type(page, `echo "size ${number}:" $(stty size)`);
  const found = new RegExp(`^size ${number}: (\\d+ \\d+)$`, 'm');
  return until('the size of the terminal', async () => (await text(page)).match(found)?.[1]);
}

async function stops(page, second) {
  await page.getByRole('button', { name: 'Stop agent' }).click();
  for (const tab of [page, second]) {
    await tab.getByTestId('terminal-status').getByText('Session ended').waitFor();
    await tab.getByText('Stopped', { exact: true }).first().waitFor();
    assert(!(await tab.getByRole('button', { name: 'Stop agent' }).isVisible()), 'a stopped agent can be stopped');
  }
  ok('stopping the agent ends the session and shows the agent as stopped, in every tab');

  assertEqual(await page.locator('.xterm-helper-textarea').getAttribute('readonly'), '', 'the readonly mark of the ended terminal');
  await showsOnce(page, HISTORY);
  ok('an ended terminal takes no typing and keeps its last output');
}

async function editsPermissions(page) {
  await page.setViewportSize({ width: 1200, height: 900 });
  await page.getByRole('link', { name: 'Agents', exact: true }).click();
  await page.getByRole('link', { name: 'Scout' }).click();
  await page.getByRole('button', { name: 'Edit permissions' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('write:pages').check();
  await dialog.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('row', { name: 'write:pages No Yes' }).waitFor();
  await dialog.waitFor({ state: 'detached' });
  ok('permissions of an approved agent can be edited; what it did not request is told apart');
}

/** Copies the key that a dialog shows once, and checks that it is gone with the dialog. */
async function takesTheKey(page) {
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Copy API key' }).click();
  await dialog.getByRole('button', { name: 'Copied' }).waitFor();
  const key = await page.evaluate(() => navigator.clipboard.readText());
  assert((await dialog.innerText()).includes(key), 'what was copied is not shown');
  await dialog.getByRole('button', { name: 'Done' }).click();
  await dialog.waitFor({ state: 'detached' });
  assert(!(await page.content()).includes(key), 'a key is still in the page after its dialog was closed');
  return key;
}

/** The status of a tool call with the key. */
async function callWith(key) {
  const response = await fetch(new URL('/api/mcp-standard/call_tool', baseUrl), {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'agent_profile' }),
  });
  return response.status;
}

async function rotatesAKey(page) {
  await page.getByRole('button', { name: 'Rotate key' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('radio', { name: 'In 1 hour' }).check();
  await dialog.getByRole('button', { name: 'Rotate' }).click();
  await page.getByRole('heading', { name: 'New key for Scout' }).waitFor();
  const key = await takesTheKey(page);
  assertEqual(await callWith(key), 200, 'the status of a call with the new key');
  const keys = page.getByRole('region', { name: 'API keys' });
  await keys.getByText(/expires in \d+ minutes/).waitFor();
  // The newest comes first; prefixes of two keys may be the same.
  await keys.getByRole('button', { name: `Revoke key ${key.slice(0, 12)}` }).first().click();
  await dialog.getByRole('button', { name: 'Revoke' }).click();
  await keys.getByText('Revoked', { exact: true }).waitFor();
  assertEqual(await callWith(key), 401, 'the status of a call with a revoked key');
  ok("an agent's key can be rotated with a grace period and revoked; the new one is shown once");
}

async function keepsAnOwnKey(page) {
  await page.getByRole('link', { name: 'API keys' }).click();
  await page.getByRole('button', { name: 'Create API key' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('Laptop');
  await dialog.getByLabel('Expires').selectOption('In 30 days');
  await dialog.getByRole('button', { name: 'Create' }).click();
  await page.getByRole('heading', { name: 'API key "Laptop" is ready' }).waitFor();
  const key = await takesTheKey(page);
  await page.getByText('expires in 30 days').waitFor();
  await page.getByRole('button', { name: `Revoke key ${key.slice(0, 12)}` }).click();
  await dialog.getByRole('button', { name: 'Revoke' }).click();
  await page.getByText('No API keys yet').waitFor();
  ok('a person can create a key of their own and revoke it');
}

async function changesASetting(page) {
  await page.getByRole('link', { name: 'Settings' }).click();
  const access = page.getByRole('region', { name: 'Access' });
  await access.getByRole('switch', { name: 'Public registration' }).check({ force: true });
  await access.getByLabel('Agents per project at most').fill('3');
  await access.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Access settings are saved.').waitFor();
  await page.reload();
  assertEqual(await access.getByLabel('Agents per project at most').inputValue(), '3', 'the setting after a reload');
  ok('settings can be changed and stay');
}

async function approvesAndRevokes(page) {
  await page.getByRole('link', { name: 'Agents', exact: true }).click();
  await page.getByRole('tab', { name: 'Pending' }).click();
  const { id: workspaceId } = await call(baseUrl, null, 'POST', '/api/workspace/public');
  const asked = { workspaceId, agentId: 'critic', agentName: 'Critic', capabilities: ['review'], requestedPermissions: ['read:pages'] };
  const { claimSecret } = await call(baseUrl, null, 'POST', '/api/parallax-agents/access-request', asked);
  await page.getByRole('article', { name: 'Critic' }).getByRole('button', { name: 'Approve' }).click();
  const dialog = page.getByRole('dialog');
  const again = { ...asked, requestedPermissions: ['read:tasks'], claimSecret };
  await call(baseUrl, null, 'POST', '/api/parallax-agents/access-request', again);
  await dialog.getByRole('button', { name: 'Approve' }).click();
  await dialog.getByText('The request has changed').waitFor();
  assert(await dialog.getByLabel('read:tasks').isChecked(), 'the new request is not selected');
  ok('a request that changed since it was opened is shown anew instead of approved');

  await dialog.getByLabel('write:tasks').check();
  assert(await dialog.getByRole('button', { name: 'Approve' }).isDisabled(), 'more than was asked for needs no tick');
  await dialog.getByLabel('Grant more than the agent asked for').check();
  await dialog.getByRole('button', { name: 'Approve' }).click();
  await page.getByText('No pending agents').waitFor();
  await page.getByRole('heading', { name: 'Critic is approved' }).waitFor();
  await takesTheKey(page);
  ok('more than was asked for needs a tick, and the key stays in view while the agent leaves the list');

  await page.getByRole('tab', { name: 'Approved' }).click();
  await page.getByRole('article', { name: 'Critic' }).getByRole('button', { name: 'Revoke' }).click();
  await dialog.getByLabel('Reason').fill('only a test');
  await dialog.getByRole('button', { name: 'Revoke' }).click();
  await dialog.getByText(/It took \d+ ms/).waitFor();
  await dialog.getByText('1 API key', { exact: true }).waitFor();
  await dialog.getByRole('button', { name: 'Done' }).click();
  ok('revoking shows what was ended and how long it took');
}

async function filtersActivity(page) {
  await page.getByRole('link', { name: 'Activity' }).click();
  const entries = page.getByRole('region', { name: 'Entries' }).getByRole('listitem');
  await entries.filter({ hasText: 'Invite created' }).waitFor();
  await page.getByLabel('Type').selectOption('Settings changed');
  await until('the filtered entries', async () => (await entries.count()) === 1);
  assert((await entries.innerText()).includes('Settings changed'), 'the filter shows another type');
  await page.reload();
  await until('the filtered entries after a reload', async () => (await entries.count()) === 1);
  await page.getByRole('button', { name: 'Clear filters' }).click();
  await until('all entries', async () => (await entries.count()) > 1);
  ok('activity can be filtered by type, and the filter is in the address');
}

async function connected(page) {
  await page.getByTestId('terminal-status').getByText('Connected', { exact: true }).waitFor();
}

/** Types into the terminal as a person does. */
async function type(page, keys, enter = 'Enter') {
  await page.locator('.xterm-helper-textarea').focus();
  await page.keyboard.type(keys);
  if (enter) await page.keyboard.press(enter);
}

/** All text of the terminal, scrollback included. */
const text = (page) => page.evaluate(() => window.ravenTerminal?.text() ?? '');

/** Waits until the terminal shows the text. */
const shows = (page, wanted) => until(`the terminal to show ${wanted}`, async () => (await text(page)).includes(wanted));

/** Waits until both pages show the same: the last output may still be on its way to one of them. */
const showsTheSame = (one, other) => until('both tabs to show the same', async () => (await text(one)) === (await text(other)));

const count = (text, part) => text.split(part).length - 1;

async function showsOnce(page, parts) {
  const shown = await text(page);
  for (const part of parts) assertEqual(count(shown, part), 1, `how often the terminal shows ${part}`);
}

/** Prints what every page shows and, with ARTIFACTS set to a folder, keeps a picture of it there. */
async function showPages(context, problems) {
  console.log('errors of the pages:', problems);
  for (const [number, page] of context.pages().entries()) {
    console.log(`--- page ${number + 1} at ${page.url()}`);
    console.log(await page.evaluate(() => document.body.innerText).catch(String));
    console.log('--- its terminal', JSON.stringify(await text(page).catch(String)));
    if (!process.env.ARTIFACTS) continue;
    const path = join(process.env.ARTIFACTS, `browser-${number + 1}.png`);
    await page.screenshot({ path }).then(() => console.log(`--- its picture ${path}`), console.log);
  }
}
