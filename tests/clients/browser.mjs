// A real Chromium, and pages in it that come from an origin of their own.
import http from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { url } from './scene.mjs';

const [host, port] = process.env.HUIDU_TEST_PAGE.split(':');

// The script of a page, bundled as a shop would do it.
export async function bundle(entry) {
  const made = await build({
    entryPoints: [fileURLToPath(new URL(entry, import.meta.url))],
    bundle: true,
    write: false,
    format: 'iife',
    jsx: 'automatic',
    preserveSymlinks: true,
    define: { 'process.env.NODE_ENV': '"production"' },
  });
  return made.outputFiles[0].text;
}

// Serves scripts by path at the origin that huidu allows, and at another one that it does not. `/` is a page with
// `/page.js`; each of `pages`, such as `/react`, is one with its body and the script of its name.
export async function serve(scripts, pages = {}) {
  const html = (path) =>
    path === '/elsewhere'
      ? '<title>elsewhere</title>'
      : `<!doctype html><meta charset="utf-8"><title>shop</title><body>${pages[path] ?? ''}` +
        `<script src="${path in pages ? path : '/page'}.js"></script>`;
  const policy = `default-src 'none'; script-src 'self'; connect-src ${url}`;
  const server = http.createServer((request, response) => {
    const path = request.url.split('?')[0];
    const [type, text] = path in scripts ? ['text/javascript', scripts[path]] : ['text/html', html(path)];
    const headers = { 'content-type': `${type}; charset=utf-8`, 'content-security-policy': policy };
    response.writeHead(200, headers).end(text);
  });
  const listen = (port) => new Promise((done, failed) => server.once('error', failed).listen(port, host, done));
  await listen(Number(port));
  const stranger = http.createServer((request, response) => server.emit('request', request, response));
  await new Promise((done) => stranger.listen(0, host, done));
  after(() => { server.close(); stranger.close(); });
  return { page: `http://${host}:${port}/`, stranger: `http://${host}:${stranger.address().port}/` };
}

const profile = mkdtempSync(join(tmpdir(), 'huidu-chromium-'));
const browser = await chromium.launch({
  executablePath: process.env.HUIDU_TEST_CHROMIUM || '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--no-proxy-server',
  ],
  env: { ...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile },
});
after(async () => {
  await browser.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});

// A page of a shopper who was never here; what it asked of huidu stands in `asked`.
export async function open(address, context) {
  context ??= await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.asked = [];
  page.on('pageerror', (error) => { page.failed = error; });
  page.on('response', async (response) => {
    if (!response.url().startsWith(url)) return;
    const request = response.request();
    page.asked.push({
      method: request.method(),
      path: response.url().slice(url.length),
      status: response.status(),
      sent: request.headers(),
    });
  });
  await page.goto(address);
  return page;
}

// Cuts a page off from huidu, or gives it back.
export const cut = (page) => page.route(`${url}/**`, (route) => route.abort());
export const mend = (page) => page.unroute(`${url}/**`);
