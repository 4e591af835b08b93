/** Two people at one terminal, each with a browser of their own: who types, who controls it, and a link to watch it. */
import { launch } from './chromium.mjs';
import { args, assert, call, main, ok, until, WAIT_MS } from './lib.mjs';

const [baseUrl, ownerCookie, memberCookie, agentId, sessionId] = args('base-url', 'owner-cookie', 'member-cookie', 'agent-id', 'session-id');

main(120_000, async () => {
  const browser = await launch();
  try {
    const owner = await open(browser, ownerCookie);
    const member = await open(browser, memberCookie);
    await bothMayType(owner, member);
    await oneControls(owner, member);
    await handsOver(owner, member);
    await comesBack(owner);
    await onlyWatches(owner, member);
    await sharesALink(owner, member);
  } finally {
    await browser.close();
  }
});

/** A person's page of the agent. */
async function open(browser, cookie) {
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, permissions: ['clipboard-read', 'clipboard-write'] });
  context.setDefaultTimeout(WAIT_MS);
  const [name, value] = cookie.split('=');
  await context.addCookies([{ name, value, url: baseUrl }]);
  const page = await context.newPage();
  await page.goto(`${baseUrl}/agents/${agentId}`);
  await connected(page);
  return page;
}

const connected = (page) => page.getByTestId('terminal-status').getByText('Connected', { exact: true }).waitFor();

const text = (page) => page.evaluate(() => window.ravenTerminal?.text() ?? '');

const shows = (page, wanted) => until(`the terminal to show ${wanted}`, async () => (await text(page)).includes(wanted));

const controls = (page, who) => page.getByTestId('terminal-controller').getByText(who).waitFor();

async function type(page, keys) {
  await page.locator('.xterm-helper-textarea').focus();
  await page.keyboard.type(keys);
  await page.keyboard.press('Enter');
}

const isReadOnly = async (page) => (await page.locator('.xterm-helper-textarea').getAttribute('readonly')) !== null;

async function bothMayType(owner, member) {
  await controls(owner, 'Open to all who may type');
  await owner.getByRole('button', { name: '2 viewers' }).click();
  await owner.getByRole('list', { name: 'Viewers' }).getByText('mel').waitFor();
  await owner.keyboard.press('Escape');
  await type(owner, 'echo "owner $((40+1))"');
  await shows(member, 'owner 41');
  await type(member, 'echo "member $((40+2))"');
  await shows(owner, 'member 42');
  ok('two people see each other and may both type');
}

async function oneControls(owner, member) {
  await owner.getByRole('button', { name: 'Take control' }).click();
  await controls(owner, 'You control');
  await controls(member, 'owner controls');
  await until("the member's terminal to take no typing", () => isReadOnly(member));
  assert(!(await member.getByRole('button', { name: 'Take over' }).isVisible()), 'a member may take control from an owner');
  await type(owner, 'echo "alone $((40+3))"');
  await shows(member, 'alone 43');
  ok('while one controls the terminal, the other sees who does and cannot type');
}

async function handsOver(owner, member) {
  await member.getByRole('button', { name: 'Ask for control' }).click();
  await owner.getByRole('button', { name: 'Hand over to mel, who asks' }).click();
  await controls(member, 'You control');
  await controls(owner, 'mel controls');
  await type(member, 'echo "handed $((40+4))"');
  await shows(owner, 'handed 44');
  await owner.getByRole('button', { name: 'Take over' }).click();
  await owner.getByRole('dialog').getByRole('button', { name: 'Take over' }).click();
  await controls(member, 'owner controls');
  await owner.getByRole('button', { name: 'Release control' }).click();
  await controls(member, 'Open to all who may type');
  ok('control is asked for, handed over, taken over and released');
}

async function comesBack(owner) {
  await owner.getByRole('button', { name: 'Take control' }).click();
  await controls(owner, 'You control');
  await owner.reload();
  await connected(owner);
  await controls(owner, 'You control');
  await shows(owner, 'handed 44');
  await owner.getByRole('button', { name: 'Release control' }).click();
  await controls(owner, 'Open to all who may type');
  ok('whoever reloads the page keeps control');
}

async function onlyWatches(owner, member) {
  await call(baseUrl, ownerCookie, 'POST', '/api/workspace/agent-settings/update', { terminalWriters: 'admins' });
  await member.getByText('Read-only', { exact: true }).waitFor();
  await until("the member's terminal to take no typing", () => isReadOnly(member));
  await type(owner, 'echo "watched $((40+5))"');
  await shows(member, 'watched 45');
  ok('a change of the settings makes a writer a reader at once');
}

async function sharesALink(owner, member) {
  await call(baseUrl, ownerCookie, 'POST', '/api/workspace/agent-settings/update', { terminalReaders: 'writers' });
  await member.getByText('You may not watch this terminal any more').waitFor();
  await owner.getByRole('button', { name: 'Share', exact: true }).click();
  const dialog = owner.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Create link' }).click();
  await dialog.getByRole('button', { name: 'Copy link' }).click();
  await dialog.getByRole('button', { name: 'Copied' }).waitFor();
  const link = await owner.evaluate(() => navigator.clipboard.readText());
  assert(link.includes(`/terminal/${sessionId}#share=term_share_`), `the link is ${link}`);
  await member.goto(`${baseUrl}/terminal/${sessionId}`);
  await member.getByText('Session not found').waitFor();
  await member.goto('about:blank');
  await member.goto(link.replace(/^https?:\/\/[^/]+/, baseUrl));
  await connected(member);
  await member.getByText('Read-only', { exact: true }).waitFor();
  await shows(member, 'watched 45');
  ok('a link lets somebody watch who otherwise may not');

  await dialog.getByRole('button', { name: 'Revoke' }).click();
  await member.getByText('This link has ended or was revoked').waitFor();
  ok('a revoked link shows whoever came by it out');
}
