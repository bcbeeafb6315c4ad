// OpenFeature's web SDK with its OFREP provider, in Chromium, on a page of another origin under a strict policy.
import assert from 'node:assert/strict';
import test from 'node:test';
import { bundle, cut, mend, open, serve } from './browser.mjs';
import { change, eventually, keys, kill, nowhere, restore, url, verify } from './scene.mjs';

const origin = await serve({ '/page.js': await bundle('web-page.js') });
const plain = { baseUrl: url, key: keys.client, cacheMode: 'disabled' };
const shopper = { targetingKey: 'u-1' };
const shoes = { ...shopper, goods: [{ id: 'g-1', category: 'shoes' }] };

const start = (page, options, context = shopper) =>
  page.evaluate(([options, context]) => kit.start(options, context), [options, context]);
const details = (page, kind, flag, off) =>
  page.evaluate(([kind, flag, off]) => kit.details(kind, flag, off), [kind, flag, off]);
const heard = (page, event) =>
  page.evaluate((event) => kit.heard.filter((one) => one.event === event), event);
const move = (page, context) => page.evaluate((context) => kit.OpenFeature.setContext(context), context);
// The first, and those that brought something new: a page also asks when its stream connects, and hears 304.
const answers = (page) => evaluations(page).filter(({ status }) => status === 200);
const streams = (page) => page.asked.filter(({ method, path }) => method === 'GET' && path.startsWith('/ofrep/'));
const evaluations = (page) => page.asked.filter(({ path, method }) => method === 'POST' && path.startsWith('/ofrep/'));

test('values of every type come with one call', async () => {
  const page = await open(origin.page);
  assert.equal(await start(page, plain), 'ready');
  const rows = [
    ['Boolean', 'a-boolean', false, true],
    ['String', 'a-string', '', '灰度 "x"'],
    ['Number', 'an-integer', 0, 7],
    ['Number', 'a-float', 0.5, 1],
    ['Object', 'an-object', {}, { layout: 'card', steps: [1, { deep: null }] }],
  ];
  for (const [kind, flag, off, expected] of rows) {
    const got = await details(page, kind, flag, off);
    assert.deepEqual([got.value, got.variant, got.reason, got.errorCode], [expected, 'on', 'STATIC', undefined]);
  }
  assert.equal(answers(page).length, 1);
});

test('metadata carries the token, the version and the environment, and no rule', async () => {
  const page = await open(origin.page);
  await start(page, plain);
  const { exposureToken, ...metadata } = (await details(page, 'Boolean', 'entry', false)).flagMetadata;
  assert.deepEqual(metadata, { flagSetId: 'production', version: 1 });
  const statement = await verify(exposureToken);
  assert.deepEqual([statement.valid, statement.visible, statement.unit], [true, true, 'u-1']);
});

test('missing, killed, archived and broken flags', async () => {
  const page = await open(origin.page);
  await start(page, plain);
  const missing = await details(page, 'Boolean', 'no-such-flag', false);
  assert.deepEqual([missing.value, missing.errorCode], [false, 'FLAG_NOT_FOUND']);
  assert.ok(missing.flagMetadata.snapshot > 0, 'of the whole answer');
  for (const flag of ['shut', 'gone']) {
    const got = await details(page, 'String', flag, 'open by mistake');
    assert.deepEqual([got.value, got.reason, got.errorCode], ['off', 'DISABLED', undefined], flag);
  }
  const broken = await details(page, 'Boolean', 'broken', false);
  assert.deepEqual([broken.value, broken.errorCode, broken.reason], [false, 'GENERAL', 'ERROR']);
  const mistyped = await details(page, 'String', 'a-boolean', 'off');
  assert.deepEqual([mistyped.value, mistyped.errorCode], ['off', 'TYPE_MISMATCH']);
});

test('a guest without targeting key gets everything that needs none', async () => {
  for (const context of [{}, { targetingKey: '' }]) {
    const page = await open(origin.page);
    assert.equal(await start(page, plain, context), 'ready');
    const entry = await details(page, 'Boolean', 'entry', false);
    assert.deepEqual([entry.value, entry.errorCode], [false, 'TARGETING_KEY_MISSING']);
    assert.equal((await details(page, 'Boolean', 'a-boolean', false)).value, true);
  }
});

test('a changed context is answered anew, although the provider sends its old tag', async () => {
  const page = await open(origin.page);
  await start(page, plain, { ...shopper, region: 'HK' });
  assert.equal((await details(page, 'Boolean', 'by-region', false)).value, false);
  await move(page, { ...shopper, region: 'CN-31' });
  assert.equal((await details(page, 'Boolean', 'by-region', false)).value, true);
  const [first, second] = answers(page);
  assert.equal(first.sent['if-none-match'], undefined);
  assert.ok(second.sent['if-none-match'], 'the old tag was sent');
});

test('signing in is another unit with another token', async () => {
  const page = await open(origin.page);
  await start(page, plain, {});
  await move(page, { targetingKey: 'u-2' });
  const entry = await details(page, 'Boolean', 'entry', false);
  assert.equal(entry.value, true);
  assert.equal((await verify(entry.flagMetadata.exposureToken)).unit, 'u-2');
});

test('polls of an unchanged answer are 304, and a change marks its flag alone', async () => {
  const page = await open(origin.page);
  await start(page, { ...plain, pollInterval: 150, changeDetection: 'polling' });
  await eventually('two polls', () => evaluations(page).filter(({ status }) => status === 304).length >= 2);
  assert.deepEqual(await heard(page, 'PROVIDER_CONFIGURATION_CHANGED'), []);
  await change('moving', { default_variant: 'after' });
  const changed = await eventually('the change', async () => (await heard(page, 'PROVIDER_CONFIGURATION_CHANGED'))[0]);
  assert.deepEqual(changed.flagsChanged, ['moving']);
  assert.equal((await details(page, 'String', 'moving', 'off')).value, 'after');
});

test('a change is heard over the stream, without polling', async () => {
  const page = await open(origin.page);
  await start(page, plain);
  // What changed before the stream was there is not missed: it asks once more, without cost.
  await eventually('the stream', () => evaluations(page).some(({ status }) => status === 304));
  const [{ path, status }] = streams(page);
  assert.match(path, /^\/ofrep\/v1\/sse\?token=/);
  assert.equal(status, 200);
  const before = (await details(page, 'String', 'moving', 'off')).value;
  const next = before === 'after' ? 'on' : 'after';
  await change('moving', { default_variant: next });
  const changed = await eventually('the change', async () => (await heard(page, 'PROVIDER_CONFIGURATION_CHANGED'))[0]);
  assert.deepEqual(changed.flagsChanged, ['moving']);
  assert.equal((await details(page, 'String', 'moving', 'off')).variant, next);
  const [first, connected, told, ...more] = evaluations(page);
  assert.deepEqual([first.path, more], ['/ofrep/v1/evaluate/flags', []], 'asked again once, when told');
  assert.match(told.path, /flagConfigEtag=\d+/);
  assert.deepEqual([first.status, connected.status, told.status], [200, 304, 200]);
  assert.equal(streams(page).length, 1, 'the same stream goes on');
});

test('a kill and a restore are heard over the stream', async () => {
  const page = await open(origin.page);
  await start(page, plain);
  await eventually('the stream', () => streams(page).length === 1);
  assert.equal((await details(page, 'Boolean', 'entry', false)).value, true);
  await kill('entry');
  try {
    await eventually('it is off', async () => (await details(page, 'Boolean', 'entry', false)).reason === 'DISABLED');
    assert.equal((await details(page, 'Boolean', 'entry', false)).value, false);
  } finally {
    await restore('entry');
  }
  await eventually('it is on', async () => (await details(page, 'Boolean', 'entry', false)).value === true);
});

test('the stream follows a change of context, and is not opened where it is not wanted', async () => {
  const page = await open(origin.page);
  await start(page, plain, { ...shopper, region: 'HK' });
  await move(page, { ...shopper, region: 'CN-31' });
  await change('moving', { description: `told at ${Date.now()}` });
  await eventually('the question with the new context', () => answers(page).length === 3);
  assert.equal((await details(page, 'Boolean', 'by-region', false)).value, true);
  assert.equal(streams(page).length, 1);
  const polling = await open(origin.page);
  await start(polling, { ...plain, pollInterval: 100, changeDetection: 'polling' });
  await eventually('polls', () => evaluations(polling).length >= 3);
  assert.deepEqual(streams(polling), []);
});

test('a wrong key is fatal, and the default of the code', async () => {
  const page = await open(origin.page);
  assert.match(await start(page, { ...plain, key: 'huidu_client_wrong' }), /Initialization failed/);
  const got = await details(page, 'Boolean', 'a-boolean', false);
  assert.deepEqual([got.value, got.reason], [false, 'ERROR']);
});

test('a service that is away, and a page that is not allowed, get the default of the code', async () => {
  for (const [address, baseUrl] of [[origin.page, nowhere], [origin.stranger, url]]) {
    const page = await open(address);
    assert.match(await start(page, { ...plain, baseUrl }), /The OFREP request failed/);
    const got = await details(page, 'Boolean', 'a-boolean', false);
    assert.deepEqual([got.value, got.reason], [false, 'ERROR'], address);
  }
});

test('the default cache shows the kept answer first', async () => {
  const { context } = await visited('local-cache-first');
  const page = await open(origin.page, context);
  await page.route(`${url}/**`, async (route) => {
    await eventually('the page looked', () => page.looked);
    await route.continue();
  });
  assert.equal(await start(page, { ...plain, cacheMode: 'local-cache-first' }), 'ready');
  const first = await details(page, 'Boolean', 'a-boolean', false);
  assert.deepEqual([first.value, first.reason], [true, 'CACHED']);
  page.looked = true;
  await eventually('the fresh answer', async () => (await details(page, 'Boolean', 'a-boolean', false)).reason === 'STATIC');
});

test('network-first shows the kept answer only while the service is away', async () => {
  const { context } = await visited('network-first');
  const page = await open(origin.page, context);
  await start(page, { ...plain, cacheMode: 'network-first' }, shoes);
  assert.equal((await details(page, 'Boolean', 'a-boolean', false)).reason, 'STATIC');
  const alone = await open(origin.page, context);
  await cut(alone);
  assert.equal(await start(alone, { ...plain, cacheMode: 'network-first' }), 'ready');
  const kept = await details(alone, 'Boolean', 'a-boolean', false);
  assert.deepEqual([kept.value, kept.reason], [true, 'CACHED']);
  // It is kept by shopper, not by order: what was decided for shoes would show for a phone.
  const other = { ...shopper, goods: [{ id: 'g-2', category: 'phone' }] };
  const elsewhere = await open(origin.page, context);
  await cut(elsewhere);
  await start(elsewhere, { ...plain, cacheMode: 'network-first' }, other);
  assert.equal((await details(elsewhere, 'Boolean', 'for-shoes', false)).value, true);
});

test('without a cache nothing shows while the service is away, and the next context finds it back', async () => {
  const { context } = await visited('disabled');
  const page = await open(origin.page, context);
  await cut(page);
  assert.match(await start(page, plain), /The OFREP request failed/);
  assert.equal((await details(page, 'Boolean', 'a-boolean', false)).value, false);
  await mend(page);
  await move(page, { ...shopper, step: 'again' });
  assert.equal((await details(page, 'Boolean', 'a-boolean', false)).value, true);
});

// A browser that got an answer for shoes once, and kept it as `cacheMode` says.
async function visited(cacheMode) {
  const page = await open(origin.page);
  await start(page, { ...plain, cacheMode }, shoes);
  assert.equal((await details(page, 'Boolean', 'for-shoes', false)).value, true);
  const context = page.context();
  await page.close();
  return { context };
}
