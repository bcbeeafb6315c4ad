// `examples/frontend/web.js` and `react.jsx` in Chromium: what is shown, and what is reported of it.
import assert from 'node:assert/strict';
import test from 'node:test';
import { bundle, cut, open, serve } from './browser.mjs';
import { eventually, exposures, keys, kill, restore, steps, url, verify } from './scene.mjs';

const scripts = { '/page.js': await bundle('shop-page.js'), '/react.js': await bundle('react-page.jsx') };
const origin = await serve(scripts, { '/react': '<div id="app"></div>' });
const order = { id: 'o-1', currency: 'CNY', amount: 45900, goods: [{ id: 'g-1', category: 'shoes', price: 45900 }] };

const options = (id, more) => ({ baseUrl: url, key: keys.client, shopper: { id }, order, ...more });
// A page of the shopper `id` with one entry.
async function checkout(id, flag = 'entry', far = false, more = {}) {
  const page = await open(origin.page);
  await page.evaluate(async ([options, flag, far]) => {
    globalThis.provider = await shop.openCheckout(options);
    globalThis.scan = shop.mount(flag, false, far);
  }, [options(id, more), flag, far]);
  return page;
}
// A page asks again when its stream connects, and hears 304: that is no answer.
const answers = (page) =>
  page.asked.filter(({ method, status, path }) => method === 'POST' && status === 200 && path.startsWith('/ofrep/'));
const text = (page, flag = 'entry') => page.textContent(`#${flag}`);
const reports = (page) => {
  const sent = [];
  page.on('request', (request) => {
    if (request.url() === `${url}/v1/events`) sent.push(...JSON.parse(request.postData() ?? '{"events":[]}').events);
  });
  return sent;
};

test('an entry is shown with one call, and its exposure is reported once, when it is really seen', async () => {
  const before = await exposures('entry', 'treatment');
  const page = await checkout('once-1', 'entry', true);
  const sent = reports(page);
  assert.equal(await text(page), 'pay: true');
  await page.evaluate(() => scan.step('entry_opened'));
  await eventually('another report', async () => (await steps('entry', 'entry_opened')) > 0);
  assert.equal(await exposures('entry', 'treatment'), before, 'it is below what is seen');
  await page.evaluate(() => document.getElementById('entry').scrollIntoView());
  await eventually('the exposure', async () => (await exposures('entry', 'treatment')) === before + 1);
  await page.evaluate(async () => {
    // Two frames each, so that the page really saw it go and come.
    const seen = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    scrollTo(0, 0);
    await seen();
    document.getElementById('entry').scrollIntoView();
    await seen();
    scan.step('code_shown');
  });
  await eventually('the last report', () => sent.some(({ step }) => step === 'code_shown'));
  assert.equal(sent.filter(({ type }) => type === 'exposure').length, 1);
  assert.ok(sent.every(({ ago_ms, at }) => ago_ms >= 0 && at === undefined), 'never the clock of the shopper');
  assert.equal(answers(page).length, 1);
});

test('control is reported where the entry is hidden, and who is not measured is not', async () => {
  const before = await exposures('held-back', 'control', 'off');
  const page = await checkout('control-1', 'held-back');
  assert.equal(await text(page, 'held-back'), '');
  await eventually('the exposure', async () => (await exposures('held-back', 'control', 'off')) === before + 1);
  const unmeasured = await checkout('control-1', 'by-region');
  const sent = reports(unmeasured);
  await unmeasured.evaluate(() => shop.mount('entry', false));
  await eventually('the report of another entry', () => sent.length > 0);
  assert.equal(sent.length, 1);
});

test('what was not acknowledged is sent again with its id, and counts once', async () => {
  const before = await steps('entry', 'code_shown');
  const page = await checkout('again-1');
  await eventually('the exposure', () => page.asked.some(({ path, method }) => method === 'POST' && path === '/v1/events'));
  let lost = 0;
  const sent = reports(page);
  await page.route(`${url}/v1/events`, async (route) => {
    if (route.request().method() !== 'POST' || lost > 0) return route.continue();
    lost += 1;
    await route.fetch(); // huidu took it, and the answer is lost
    return route.abort();
  });
  await page.evaluate(() => scan.step('code_shown'));
  await eventually('it is sent again', () => sent.length === 2 && page.asked.filter(({ path }) => path === '/v1/events').length >= 2);
  assert.equal(sent[0].id, sent[1].id);
  assert.ok(sent[1].ago_ms > sent[0].ago_ms, 'it happened when it happened');
  await eventually('the step is counted', async () => (await steps('entry', 'code_shown')) > before);
  assert.equal(await steps('entry', 'code_shown'), before + 1);
});

test('leaving the page loses nothing', async () => {
  const before = await steps('entry', 'entry_opened');
  const page = await checkout('leaving-1');
  await page.evaluate(() => { scan.step('entry_opened'); location.href = '/elsewhere'; });
  await eventually('the report', async () => (await steps('entry', 'entry_opened')) === before + 1);
});

test('a kill hides the open page, not a payment under way, and the backend hears no', async () => {
  const page = await checkout('killed-1', 'entry', false, { pollInterval: 150 });
  const busy = await checkout('killed-2', 'entry', false, { pollInterval: 150 });
  await busy.evaluate(() => scan.begin());
  const token = await busy.evaluate(() => provider.token('entry'));
  assert.equal((await verify(token)).open, true);
  await kill('entry');
  try {
    await eventually('it is hidden', async () => (await text(page)) === '');
    await eventually('the busy page knows', () => busy.evaluate(() => shop.OpenFeature.getClient().getBooleanValue('entry', false) === false));
    assert.equal(await text(busy), 'pay: true');
    assert.equal(await busy.evaluate(() => provider.token('entry')), token, 'of what was shown');
    const told = await verify(token);
    assert.deepEqual([told.open, told.state], [false, 'killed']);
    await busy.evaluate(() => scan.end());
    assert.equal(await text(busy), '');
  } finally {
    await restore('entry');
  }
  await eventually('it is back', async () => (await text(page)) === 'pay: true');
});

test('a guest who signs in is decided and reported as the user', async () => {
  const page = await checkout(undefined);
  assert.equal(await text(page), '');
  const sent = reports(page);
  await page.evaluate((order) => shop.OpenFeature.setContext(shop.context({ id: 'signed-in-1' }, order)), order);
  assert.equal(await text(page), 'pay: true');
  const exposure = await eventually('the exposure', () => sent.find(({ type }) => type === 'exposure'));
  assert.equal((await verify(exposure.token)).unit, 'signed-in-1');
  await page.evaluate((order) => shop.OpenFeature.setContext(shop.context({ id: 'signed-in-2' }, order)), order);
  await eventually('the exposure of the other user', () => sent.length === 2);
  assert.equal((await verify(sent[1].token)).unit, 'signed-in-2');
  await page.evaluate((order) => shop.OpenFeature.setContext(shop.context({}, order)), order);
  await page.evaluate(() => scan.step('code_shown'));
  assert.equal(await page.evaluate(() => provider.token('entry')), undefined, 'nothing is reported for who signed out');
});

test('other goods hide the entry', async () => {
  const page = await checkout('goods-1', 'for-shoes');
  assert.equal(await text(page, 'for-shoes'), 'pay: true');
  const phone = { ...order, goods: [{ id: 'g-2', category: 'phone', price: 1 }] };
  await page.evaluate((order) => shop.OpenFeature.setContext(shop.context({ id: 'goods-1' }, order)), phone);
  assert.equal(await text(page, 'for-shoes'), '');
});

test('without an answer nothing is shown, and nothing breaks', async () => {
  const page = await open(origin.page);
  await cut(page);
  await page.evaluate(async (options) => { await shop.openCheckout(options); shop.mount('entry', false); }, options('away-1'));
  assert.equal(await text(page), '');
  assert.equal(page.failed, undefined);
});

test('the token travels in the link of a friend', async () => {
  const page = await checkout('friend-1');
  const link = await page.evaluate(() => shop.paymentLink('https://shop.example/pay?order=o-1', provider.token('entry')));
  const { searchParams } = new URL(link);
  assert.equal(searchParams.get('order'), 'o-1');
  assert.equal((await verify(searchParams.get('huidu'))).unit, 'friend-1');
});

test('the checkout of the guide, from the button to the code', async () => {
  const opened = await steps('wechat-scan-pay', 'entry_clicked', 'fixed');
  const page = await open(origin.page);
  await page.evaluate(async (options) => {
    document.body.insertAdjacentHTML('beforeend', '<div id="place"><button id="scan" hidden>scan</button></div><p id="code"></p>');
    const draw = (link) => { document.getElementById('code').textContent = link; };
    await shop.checkout(options, document.getElementById('place'), draw);
  }, options('tester-1'));
  await page.click('#scan');
  const link = new URL(await page.textContent('#code'));
  assert.equal(link.pathname, '/pay/o-1');
  assert.equal((await verify(link.searchParams.get('huidu'))).flag, 'wechat-scan-pay');
  await eventually('the steps', async () => (await steps('wechat-scan-pay', 'qr_shown', 'fixed')) > 0);
  assert.equal(await steps('wechat-scan-pay', 'entry_clicked', 'fixed'), opened + 1);
});

test('React: drawn, reported once, hidden by a kill when no payment is under way', async () => {
  const before = await exposures('entry', 'treatment');
  const [stepsBefore, page] = [await steps('entry', 'code_shown'), await open(`${origin.page}react`)];
  const sent = reports(page);
  await page.evaluate(([options]) => shop.start(options, 'entry', false), [options('react-1', { pollInterval: 150 })]);
  assert.equal(await page.textContent('#open'), 'scan: true');
  await eventually('the exposure', async () => (await exposures('entry', 'treatment')) === before + 1);
  await page.click('#open');
  await page.click('#pay');
  await eventually('the step', async () => (await steps('entry', 'code_shown')) === stepsBefore + 1);
  assert.equal(sent.filter(({ type }) => type === 'exposure').length, 1);
  await kill('entry');
  try {
    await eventually('the page knows', () => answers(page).length >= 2);
    assert.equal(await page.textContent('#open'), 'scan: true', 'a payment is under way');
    await page.click('#done');
    await eventually('it is hidden', async () => (await page.locator('#open').count()) === 0);
  } finally {
    await restore('entry');
  }
});
