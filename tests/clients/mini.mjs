// `examples/frontend/mini-program.js`, with `wx.request` as WeChat describes it, over fetch.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { eventually, exposures, keys, kill, nowhere, restore, steps, url, verify } from './scene.mjs';

const calls = [];
let lose = 0;
const wx = {
  request({ url, method, header, data, timeout, success, fail }) {
    assert.ok(timeout > 0);
    calls.push({ path: new URL(url).pathname, data });
    const body = JSON.stringify(data);
    fetch(url, { method, headers: header, body, signal: AbortSignal.timeout(timeout * 10) })
      .then(async (answer) => {
        if (lose > 0) throw new Error(`lost ${(lose -= 1)}`);
        success({ statusCode: answer.status, data: await answer.json(), header: Object.fromEntries(answer.headers) });
      })
      .catch((error) => fail({ errMsg: `request:fail ${error.message}` }));
  },
};
// As a mini program loads its files: CommonJS, without anything of Node's.
const source = readFileSync(new URL('../../examples/frontend/mini-program.js', import.meta.url), 'utf8');
const made = {};
new Function('module', 'wx', source)(made, wx);
const { createHuidu } = made.exports;

const huidu = createHuidu({ baseUrl: url, key: keys.client });
const asked = (id, category = 'shoes') =>
  ({ user: { id }, order: { id: 'o-1', currency: 'CNY', goods: [{ id: 'g-1', category, price: 100 }] } });

test('entries come with one call, by flag', async () => {
  const entries = await huidu.decide(asked('mini-1'));
  assert.deepEqual([entries.entry.visible, entries['for-shoes'].visible, entries['held-back'].visible], [true, true, false]);
  assert.equal((await huidu.decide(asked('mini-1', 'phone')))['for-shoes'].visible, false);
});

test('exposure once, steps, also of control, again with the same id after a lost answer', async () => {
  const [shown, held, opened] =
    [await exposures('entry', 'treatment'), await exposures('held-back', 'control', 'off'), await steps('entry', 'entry_opened')];
  const entries = await huidu.decide(asked('mini-2'));
  lose = 1;
  huidu.exposed(entries.entry);
  huidu.exposed(entries.entry);
  huidu.exposed(entries['held-back']);
  huidu.exposed(entries['by-region']);
  huidu.step(entries.entry, 'entry_opened');
  await huidu.send();
  await eventually('it is sent again', () => calls.filter(({ path }) => path === '/v1/events').length === 2);
  const [first, second] = calls.filter(({ path }) => path === '/v1/events').map(({ data }) => data.events);
  assert.equal(first.length, 3);
  assert.deepEqual(first.map(({ id }) => id), second.map(({ id }) => id));
  await eventually('all is counted', async () => (await steps('entry', 'entry_opened')) === opened + 1);
  assert.equal(await exposures('entry', 'treatment'), shown + 1);
  assert.equal(await exposures('held-back', 'control', 'off'), held + 1);
});

test('a kill is seen when the page asks again, and the token of before is refused', async () => {
  const { entry } = await huidu.decide(asked('mini-3'));
  await kill('entry');
  try {
    assert.equal((await huidu.decide(asked('mini-3'))).entry.visible, false);
    assert.equal((await verify(entry.exposure_token)).open, false);
  } finally {
    await restore('entry');
  }
});

test('no answer, a wrong key or a bad question show nothing', async () => {
  assert.deepEqual(await createHuidu({ baseUrl: nowhere, key: keys.client }).decide(asked('mini-4')), {});
  assert.deepEqual(await createHuidu({ baseUrl: url, key: 'huidu_client_wrong' }).decide(asked('mini-4')), {});
  assert.deepEqual(await huidu.decide({ user: { id: '' } }), {});
});
