/** A dropped-in client's page in a real browser. */
import { launch } from './chromium.mjs';
import { args, assertEqual, main, ok, WAIT_MS } from './lib.mjs';

const [baseUrl] = args('base-url');

main(60_000, async () => {
  const browser = await launch();
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(WAIT_MS);
    await page.goto(`${baseUrl}/settings/agents`);
    await page.locator('body[data-picture="shown"]').waitFor();
    ok('the script and a picture in the page are loaded');
    const config = JSON.parse(await page.locator('body').getAttribute('data-config'));
    assertEqual([config.ENV, config.APP_URL], ['production', 'https://agents.example.com'], 'window.CONFIG');
    ok('the settings are there before the script runs');
    const styles = await page.evaluate(() => [getComputedStyle(document.body).margin, getComputedStyle(document.body).padding]);
    assertEqual(styles, ['7px', '11px'], 'styles in the page and of the script');
    ok('inline styles apply');
    assertEqual(await page.evaluate(() => window.SMUGGLED ?? false), false, 'the other inline script ran');
    ok('no other inline script runs');
  } finally {
    await browser.close();
  }
});
