// OpenFeature's server SDK for JavaScript with its OFREP provider.
import assert from 'node:assert/strict';
import test from 'node:test';
import { OpenFeature } from '@openfeature/server-sdk';
import { OFREPProvider } from '@openfeature/ofrep-provider';
import { change, keys, nowhere, url, verify } from './scene.mjs';

let domains = 0;
async function client(key = keys.server, baseUrl = url) {
  const domain = `d-${(domains += 1)}`;
  const provider = new OFREPProvider({ baseUrl, headers: [['Authorization', `Bearer ${key}`]] });
  await OpenFeature.setProviderAndWait(domain, provider);
  return OpenFeature.getClient(domain);
}
const shopper = { targetingKey: 'u-1' };

test('values of every type arrive as they are', async () => {
  const huidu = await client();
  assert.equal(await huidu.getBooleanValue('a-boolean', false, shopper), true);
  assert.equal(await huidu.getStringValue('a-string', '', shopper), '灰度 "x"');
  assert.equal(await huidu.getNumberValue('an-integer', 0, shopper), 7);
  assert.equal(await huidu.getNumberValue('a-float', 0.5, shopper), 1);
  assert.deepEqual(await huidu.getObjectValue('an-object', {}, shopper), { layout: 'card', steps: [1, { deep: null }] });
});

test('success names variant, reason and metadata', async () => {
  const details = await (await client()).getBooleanDetails('entry', false, shopper);
  assert.deepEqual([details.value, details.variant, details.reason], [true, 'on', 'SPLIT']);
  const { exposureToken, ...metadata } = details.flagMetadata;
  assert.deepEqual(metadata, { flagSetId: 'production', version: 1, rule: 'ramp' });
  const statement = await verify(exposureToken);
  assert.deepEqual([statement.valid, statement.visible, statement.open, statement.unit], [true, true, true, 'u-1']);
});

test('a browser key hears no rule', async () => {
  const details = await (await client(keys.client)).getBooleanDetails('entry', false, shopper);
  assert.deepEqual(Object.keys(details.flagMetadata).sort(), ['exposureToken', 'flagSetId', 'version']);
});

test('a missing flag is the default of the code', async () => {
  const details = await (await client()).getBooleanDetails('no-such-flag', false, shopper);
  assert.deepEqual([details.value, details.errorCode, details.reason], [false, 'FLAG_NOT_FOUND', 'ERROR']);
});

test('killed and archived flags answer their off variant, whatever the default of the code is', async () => {
  for (const flag of ['shut', 'gone']) {
    const details = await (await client()).getStringDetails(flag, 'open by mistake', shopper);
    assert.deepEqual([details.value, details.reason, details.errorCode], ['off', 'DISABLED', undefined], flag);
  }
});

test('a flag that cannot be read is the default of the code', async () => {
  const details = await (await client()).getBooleanDetails('broken', false, shopper);
  assert.deepEqual([details.value, details.errorCode, details.reason], [false, 'GENERAL', 'ERROR']);
});

test('a missing targeting key fails only what needs it', async () => {
  const huidu = await client();
  for (const context of [undefined, {}, { targetingKey: '' }]) {
    const details = await huidu.getBooleanDetails('entry', false, context);
    assert.deepEqual([details.value, details.errorCode], [false, 'TARGETING_KEY_MISSING']);
    assert.equal(await huidu.getBooleanValue('a-boolean', false, context), true);
  }
});

test('nested and flat orders and goods decide', async () => {
  const huidu = await client();
  const asked = (context) => huidu.getBooleanValue('for-shoes', false, { ...shopper, ...context });
  assert.equal(await asked({ order: { id: 'o-1', amount: 100 }, goods: [{ id: 'g-1', category: 'shoes', price: 100 }] }), true);
  assert.equal(await asked({ order: { id: 'o-1', amount: 100 }, goods: [{ id: 'g-1', category: 'phone', price: 100 }] }), false);
  assert.equal(await asked({ 'order.amount': 100, 'goods.id': 'g-1', 'goods.category': 'shoes' }), true);
});

test('another type than asked is the default of the code', async () => {
  const details = await (await client()).getStringDetails('a-boolean', 'off', shopper);
  assert.deepEqual([details.value, details.errorCode], ['off', 'TYPE_MISMATCH']);
});

test('a change is heard by the next question', async () => {
  const huidu = await client();
  const before = await huidu.getStringDetails('moving', 'off', shopper);
  assert.deepEqual([before.value, before.flagMetadata.version], ['before', 1]);
  await change('moving', { default_variant: 'after' });
  const after = await huidu.getStringDetails('moving', 'off', shopper);
  assert.deepEqual([after.value, after.flagMetadata.version], ['after', 2]);
});

test('a wrong key is the default of the code', async () => {
  const details = await (await client('huidu_client_wrong')).getBooleanDetails('a-boolean', false, shopper);
  assert.deepEqual([details.value, details.reason, details.errorCode], [false, 'ERROR', 'GENERAL']);
});

test('a service that is away is the default of the code', async () => {
  const details = await (await client(keys.server, nowhere)).getBooleanDetails('a-boolean', false, shopper);
  assert.deepEqual([details.value, details.reason], [false, 'ERROR']);
});

test('a refusal for too many calls is understood as whole seconds', async () => {
  const huidu = await client('huidu_client_guessed');
  let message = '';
  for (let calls = 0; calls < 200 && !/paused/.test(message); calls += 1) {
    message = (await huidu.getBooleanDetails('a-boolean', false, shopper)).errorMessage;
  }
  const until = Date.parse(message.match(/paused due to TooManyRequests until (\S+)/)?.[1] ?? '');
  assert.ok(until > Date.now() && until <= Date.now() + 61_000, message);
});
