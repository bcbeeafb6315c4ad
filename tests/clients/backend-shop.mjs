// `examples/frontend/backend.mjs`.
import assert from 'node:assert/strict';
import http from 'node:http';
import test from 'node:test';
import { OpenFeature } from '@openfeature/server-sdk';
import { createHuidu } from '../../examples/frontend/backend.mjs';
import { eventually, keys, kill, nowhere, restore, steps, url } from './scene.mjs';

const settings = { baseUrl: url, key: keys.server, timeoutMs: 20_000 };
const huidu = createHuidu(settings);
const order = { id: 'o-1', currency: 'CNY', goods: [{ id: 'g-1', category: 'shoes', price: 45900 }] };
const token = async (id, flag = 'entry') => (await huidu.decide({ id }, order))[flag].exposure_token;

test('only visible entries are decided for a page of the server', async () => {
  const entries = await huidu.decide({ id: 'b-1' }, order);
  assert.deepEqual(Object.keys(entries).sort(), ['entry', 'for-shoes']);
  assert.deepEqual(entries['for-shoes'].goods, { eligible: ['g-1'], ineligible: [] });
  assert.deepEqual(await createHuidu({ ...settings, baseUrl: nowhere }).decide({ id: 'b-1' }, order), {});
  assert.deepEqual(await huidu.decide({ id: '' }, order), {}, 'a refusal');
});

test('a payment is taken with the token of an entry that this shopper was shown, while it is open', async () => {
  const good = await token('b-2');
  assert.equal(await huidu.mayTake(good, 'entry', 'b-2'), true);
  assert.equal(await huidu.mayTake(good, 'entry', 'somebody else'), false);
  assert.equal(await huidu.mayTake(good, 'for-shoes', 'b-2'), false);
  assert.equal(await huidu.mayTake(`${good.slice(0, -2)}AA`, 'entry', 'b-2'), false);
  assert.equal(await huidu.mayTake(undefined, 'entry', 'b-2'), false);
  assert.equal(await createHuidu({ ...settings, baseUrl: nowhere }).mayTake(good, 'entry', 'b-2'), false);
  await kill('entry');
  try {
    assert.equal(await huidu.mayTake(good, 'entry', 'b-2'), false);
  } finally {
    await restore('entry');
  }
});

test('a control token pays nothing', async () => {
  const answer = await fetch(`${url}/v1/decisions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${keys.server}`, 'content-type': 'application/json' },
    body: JSON.stringify({ placement: 'checkout', user: { id: 'b-3' }, order }),
  });
  const held = (await answer.json()).entries.find(({ flag }) => flag === 'held-back');
  assert.ok(held.exposure_token);
  assert.equal(await huidu.mayTake(held.exposure_token, 'held-back', 'b-3'), false);
});

test('a paid order is counted once, for the shopper whose token the friend had', async () => {
  const shopper = await token('b-4');
  await huidu.report([{ type: 'exposure', token: shopper }]);
  const [paid, through] = [await steps('entry', 'order_paid'), await steps('entry', 'entry_paid')];
  const order = { id: 'o-4', shopper: 'b-4', amount: 45900, currency: 'CNY', method: 'wechat', token: shopper };
  assert.deepEqual(await huidu.orderPaid(order), { accepted: 2, duplicates: 0, rejected: [] });
  assert.deepEqual(await huidu.orderPaid(order), { accepted: 0, duplicates: 2, rejected: [] });
  // What only the shop knows is counted for flags after it is stored.
  await eventually('the payment is counted', async () => (await steps('entry', 'order_paid')) > paid);
  assert.deepEqual([await steps('entry', 'order_paid'), await steps('entry', 'entry_paid')], [paid + 1, through + 1]);
});

test('a report is repeated as Retry-After says, with the same ids, and ends with an error', async () => {
  const seen = [];
  let refusals = 1;
  const flaky = http.createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    seen.push({ at: performance.now(), body });
    if (refusals > 0) {
      refusals -= 1;
      return response.writeHead(503, { 'retry-after': '1' }).end('{}');
    }
    const headers = { authorization: request.headers.authorization, 'content-type': 'application/json' };
    const answer = await fetch(url + request.url, { method: 'POST', headers, body });
    return response.writeHead(answer.status).end(await answer.text());
  });
  await new Promise((done) => flaky.listen(0, '127.0.0.1', done));
  const through = createHuidu({ ...settings, baseUrl: `http://127.0.0.1:${flaky.address().port}` });
  const told = await through.orderPaid({ id: 'o-5', shopper: 'b-5', amount: 1, currency: 'CNY', method: 'alipay' });
  assert.deepEqual(told, { accepted: 1, duplicates: 0, rejected: [] });
  assert.equal(seen[0].body, seen[1].body);
  assert.ok(seen[1].at - seen[0].at >= 990, 'it waits');
  flaky.close();
  await assert.rejects(through.report([]), /huidu took no events/);
  await assert.rejects(createHuidu({ ...settings, key: 'huidu_server_wrong' }).report([{}]), /401/);
});

test('its OpenFeature provider decides, and gives up in time', async () => {
  await OpenFeature.setProviderAndWait(huidu.provider());
  assert.equal(await OpenFeature.getClient().getBooleanValue('a-boolean', false), true);
  const mute = http.createServer(() => {});
  await new Promise((done) => mute.listen(0, '127.0.0.1', done));
  const slow = createHuidu({ key: keys.server, baseUrl: `http://127.0.0.1:${mute.address().port}`, timeoutMs: 50 });
  await OpenFeature.setProviderAndWait('slow', slow.provider());
  const details = await OpenFeature.getClient('slow').getBooleanDetails('a-boolean', false);
  assert.deepEqual([details.value, details.reason], [false, 'ERROR']);
  mute.closeAllConnections();
  mute.close();
});
