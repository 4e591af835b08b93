/** The page of the API reference in a real browser. */
import { launch } from './chromium.mjs';
import { args, assert, assertEqual, main, ok, WAIT_MS } from './lib.mjs';

const [baseUrl] = args('base-url');

/** A narrow phone, in CSS pixels. */
const PHONE = { width: 400, height: 800 };

main(60_000, async () => {
  const browser = await launch();
  try {
    const backgrounds = [];
    for (const colorScheme of ['light', 'dark']) {
      const context = await browser.newContext({ viewport: PHONE, colorScheme });
      context.setDefaultTimeout(WAIT_MS);
      const page = await context.newPage();
      const problems = [];
      page.on('pageerror', (error) => problems.push(String(error)));
      page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
      page.on('request', (request) => new URL(request.url()).origin === baseUrl || problems.push(`asked ${request.url()}`));
      await page.goto(`${baseUrl}/api/docs`);
      await page.locator('#reference[aria-busy="false"]').waitFor();
      await showsEveryOperation(page);
      await fitsThePhone(page);
      await filters(page);
      // Chromium asks for an icon by itself; the service has one or not.
      assertEqual(problems.filter((problem) => !problem.includes('favicon')), [], 'errors of the page');
      backgrounds.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      await context.close();
    }
    assert(backgrounds[0] !== backgrounds[1], `one background for light and dark: ${backgrounds}`);
    ok('follows the colours of the system');
  } finally {
    await browser.close();
  }
});

async function showsEveryOperation(page) {
  const api = await (await fetch(`${baseUrl}/api/openapi.json`)).json();
  const wanted = Object.values(api.paths).flatMap((methods) => Object.values(methods).map((operation) => operation.operationId));
  const shown = await page.locator('details.operation').evaluateAll((all) => all.map((one) => one.id));
  assertEqual(shown.toSorted(), wanted.toSorted(), 'the operations');
  // Opened one after the other, each shows its responses.
  for (const id of wanted) {
    await page.locator(`#${id} > summary`).click();
    await page.locator(`#${id} .response`).first().waitFor();
  }
  ok('shows every operation and its responses');
}

async function fitsThePhone(page) {
  const [width, content] = await page.evaluate(() => [document.documentElement.clientWidth, document.documentElement.scrollWidth]);
  assert(content <= width, `the page is ${content} pixels wide on a phone of ${width}`);
  ok('fits a narrow phone');
}

async function filters(page) {
  await page.getByRole('searchbox').fill('registerAgent');
  assertEqual(await page.locator('details.operation:visible').count(), 1, 'operations of that name');
  ok('finds an operation by its name');
}
