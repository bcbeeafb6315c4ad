// The service that a test was handed, and what people do to its flags meanwhile.
import assert from 'node:assert/strict';

function given(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: these scripts are run by tests/it/clients.rs`);
  return value;
}

export const url = given('HUIDU_TEST_URL');
export const keys = {
  client: given('HUIDU_TEST_CLIENT'),
  server: given('HUIDU_TEST_SERVER'),
  admin: given('HUIDU_TEST_ADMIN'),
};
// Where nobody listens.
export const nowhere = 'http://127.0.0.1:9';

export async function call(method, path, key, body, headers = {}) {
  const answer = await fetch(url + path, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return JSON.parse(text);
}

const flags = '/v1/environments/production/flags';

export const kill = (flag) => call('POST', `${flags}/${flag}/kill`, keys.admin, { reason: 'test' });

// Changes the document of a flag, as its owner would.
export async function change(flag, edit) {
  const stored = await call('GET', `${flags}/${flag}`, keys.admin);
  return call('PATCH', `${flags}/${flag}`, keys.admin, edit, { 'if-match': `"${stored.version}"` });
}

export const restore = async (flag) => {
  const stored = await call('GET', `${flags}/${flag}`, keys.admin);
  return call('POST', `${flags}/${flag}/restore`, keys.admin, { reason: 'test' }, { 'if-match': `"${stored.version}"` });
};

export const verify = (token) => call('POST', '/v1/tokens/verify', keys.server, { token });

// The value of a series of /metrics, 0 if there is none.
async function metric(series) {
  const answer = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${keys.admin}` } });
  const line = (await answer.text()).split('\n').find((line) => line.startsWith(series));
  return line ? Number(line.split(' ').pop()) : 0;
}

// Rows that huidu stored, of a flag of the environment.
export const exposures = (flag, arm, variant = 'on') =>
  metric(`huidu_exposures_total{arm="${arm}",environment="production",flag="${flag}",variant="${variant}"}`);
export const steps = (flag, step, arm = 'treatment') =>
  metric(`huidu_steps_total{arm="${arm}",environment="production",flag="${flag}",step="${step}",variant="on"}`);

// Waits until `check` gives something true, and gives that.
export async function eventually(what, check) {
  const until = Date.now() + 20_000;
  for (;;) {
    const found = await check();
    if (found) return found;
    assert.ok(Date.now() < until, `${what}: not within 20 seconds`);
    await new Promise((done) => setTimeout(done, 30));
  }
}
