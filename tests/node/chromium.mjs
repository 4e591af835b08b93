/** Chromium as the scripts start it. */
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { assert } from './lib.mjs';

const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

const FLAGS = [
  '--headless=new',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts the Chromium of this machine. */
export async function launch() {
  const executablePath = process.env.CHROMIUM ?? BROWSERS.find(existsSync);
  assert(executablePath, 'no Chromium found: set CHROMIUM to its path');
  return chromium.launch({ executablePath, args: FLAGS });
}
