// Headless Chromium, and the state that the dashboard reports.
import { cleanEnv, load, tempDir } from './lib.mjs';

const { chromium } = await load('playwright-core');

/** Starts a browser with an empty profile; `await browser.close()` ends it. */
export async function newBrowser({ executablePath = process.env.E2E_CHROMIUM ?? '/usr/bin/chromium' } = {}) {
  const profile = tempDir('chromium');
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    env: cleanEnv({ HOME: profile }),
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  const [page] = context.pages();
  const notes = [];
  page.on('console', (message) => notes.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => notes.push(`error: ${error.message}`));
  return {
    page, notes,
    close: () => context.close(),
    /** Waits for <html data-state=...> to be one of `states`; returns {state, code, text, href}. */
    async state(states, timeout = 10_000) {
      const selector = [states].flat().map((state) => `html[data-state="${state}"]`).join(', ');
      const now = () => page.evaluate(() => ({
        ...document.documentElement.dataset, text: document.body?.innerText ?? '', href: location.href,
      }));
      await page.waitForSelector(selector, { state: 'attached', timeout }).catch(async () => {
        throw new Error(`the page never said ${states}: ${JSON.stringify(await now())}\n${notes.join('\n')}`);
      });
      return now();
    },
  };
}
