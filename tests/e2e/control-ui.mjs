// OpenClaw's own Control UI, served by a gateway and opened in Chromium: content of the page, and
// errors.
import { join } from 'node:path';
import { newBrowser } from './browser.mjs';
import { e2eDir, until } from './lib.mjs';

export const VERSIONS = { '2026.1.29': 'a', '2026.9.6': 'b' };
/** Returns the directory of the built page of that version. */
export const rootOf = (version) => join(e2eDir, VERSIONS[version], 'node_modules/openclaw/dist/control-ui');

/**
 * External resources that the pages load from any gateway; not available without Internet access.
 */
const ELSEWHERE = [
  'https://fonts.googleapis.com/css2?family=Space+Grotesk', // 2026.1.29: fonts
  'https://mintcdn.com/clawdhub/', // 2026.1.29: image in the header
];
const elsewhere = (url) => ELSEWHERE.some((start) => url.startsWith(start));

const CLOSED = 'the connection was closed';
/** Texts by which a page reports a failed request, in addition to its error elements. */
const FAILED = /unknown method|refresh failed|could not be (refreshed|loaded|read)|Failed to \w+|Cannot read properties/i;

/**
 * Runs in the page: returns its text, visible errors and progress indicators, including shadow
 * trees.
 */
function look() {
  const elements = [], words = [document.body.innerText];
  const collect = (root) => {
    for (const element of root.querySelectorAll('*')) {
      elements.push(element);
      if (!element.shadowRoot) continue;
      words.push(...[...element.shadowRoot.children].map((child) => child.innerText ?? ''));
      collect(element.shadowRoot);
    }
  };
  collect(document);
  const shown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && element.getClientRects().length > 0;
  const all = (selector) => elements.filter((element) => element.matches(selector) && shown(element));
  const plain = (text) => text.replace(/\s+/g, ' ').trim();
  const tell = (element) => plain(`${element.tagName.toLowerCase()}.${element.getAttribute('class') ?? ''}: ${(element.innerText ?? '').slice(0, 200)}`);
  const fields = all('input:not([type=password]), textarea').map((field) => field.value);
  return {
    words: plain(words.join(' ')),
    text: plain([...words, ...fields].join(' ')),
    errors: all('[role=alert], .callout.danger, [class*=toast], [class*=error]').filter((element) => element.innerText?.trim()).map(tell),
    turning: all('[aria-busy=true], [class*=skeleton], [class*=spinner], [class*=loading]').map(tell),
    links: all('nav a[href], aside a[href], .nav-item[href]').map((link) => new URL(link.href)).filter((url) => url.origin === location.origin).map((url) => url.pathname),
    href: location.href,
  };
}

/** Opens a browser that records every frame, error and failed request of the page. */
export async function openPage() {
  const browser = await newBrowser();
  const { page } = browser;
  await page.setViewportSize({ width: 1440, height: 1000 });
  const waiting = new Map(), calls = [], sockets = new Set();
  let problems = [], last = performance.now();
  const stir = () => (last = performance.now());
  /** Forgets a socket; requests on a closed connection get no response. */
  const forget = (socket) => {
    sockets.delete(socket);
    for (const [id, { socket: on }] of waiting) if (on === socket) waiting.delete(id);
  };
  page.on('websocket', (socket) => {
    sockets.add(socket);
    socket.on('framesent', ({ payload }) => {
      if (!sockets.has(socket)) return;
      const frame = JSON.parse(payload);
      if (frame.type !== 'req') return;
      stir();
      waiting.set(frame.id, { method: frame.method, params: frame.params, socket });
      calls.push(frame.method);
    });
    socket.on('framereceived', ({ payload }) => {
      const frame = JSON.parse(payload);
      const asked = frame.type === 'res' && waiting.get(frame.id);
      if (!asked) return;
      stir();
      waiting.delete(frame.id);
      if (!frame.ok) problems.push(`${asked.method} ${JSON.stringify(asked.params)}: ${frame.error?.code} ${frame.error?.message}`);
    });
    socket.on('close', () => {
      if (sockets.has(socket)) problems.push(CLOSED);
      forget(socket);
    });
    socket.on('socketerror', (error) => problems.push(`the connection failed: ${error}`));
  });
  page.on('console', (message) => {
    if (message.type() === 'error' && !elsewhere(message.location().url)) problems.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => problems.push(`console: ${error.stack ?? error.message}`));
  page.on('requestfailed', (request) => {
    if (!elsewhere(request.url()) && request.failure()?.errorText !== 'net::ERR_ABORTED') problems.push(`request: ${request.url()} ${request.failure()?.errorText}`);
  });
  page.on('request', stir);
  page.on('response', (response) => {
    stir();
    if (response.status() >= 400) problems.push(`request: ${response.url()} ${response.status()}`);
  });
  return {
    page, calls, close: browser.close,
    /** Returns the problems since the last call. */
    problems() {
      const found = problems;
      problems = [];
      return found;
    },
    /**
     * Reloads the page, which closes its connections. Playwright forgets the sockets of a page that
     * is left, so it reports their close only if that comes before the new page.
     */
    async reload() {
      for (const socket of [...sockets]) forget(socket);
      await page.reload();
    },
    /**
     * Waits until there was no request for 150 ms, all of the texts are present, and no progress
     * indicator is shown except those matched by `may`.
     */
    async settled(texts, may = () => false, timeout = 8000) {
      const asked = () => [...waiting.values()].map(({ method }) => method);
      let seen;
      const take = async () => {
        seen = await page.evaluate(look);
        seen.missing = texts.filter((text) => !seen.text.includes(text));
        seen.turning = seen.turning.filter((one) => !may(one));
        const failed = seen.words.match(FAILED);
        if (failed) seen.errors.push(seen.words.slice(Math.max(failed.index - 60, 0), failed.index + 120));
        return seen.missing.length + seen.turning.length === 0;
      };
      const quiet = () => waiting.size === 0 && performance.now() - last > 150;
      await until('the page', async () => quiet() && await take(), timeout, 40).catch(async () => {
        await take();
        seen.turning.push(...asked());
      });
      return seen;
    },
    /**
     * Goes to another path of the page, by clicking its link if one is visible, as a user would.
     */
    async go(path) {
      const link = page.locator(`a[href="${path}"]:visible`).first();
      if (await link.count()) return link.click();
      await page.evaluate((to) => {
        history.pushState({}, '', to);
        dispatchEvent(new PopStateEvent('popstate'));
      }, path);
    },
  };
}
