// huidu in a WeChat mini program: nothing but wx.request.
function createHuidu({ baseUrl, key, timeout = 2000 }) {
  const header = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };
  let waiting = [];
  let failures = 0;
  let timer;

  const post = (path, data) =>
    new Promise((done) => {
      const success = ({ statusCode, data, header }) => done({ status: statusCode, data, header });
      wx.request({ url: baseUrl + path, method: 'POST', header, data, timeout, success, fail: () => done({ status: 0 }) });
    });

  // The entries of a place by flag. No answer, or a fault: none, so nothing is shown.
  async function decide({ placement = 'checkout', user, order }) {
    const { status, data } = await post('/v1/decisions', { placement, user, order });
    if (status !== 200) return {};
    return Object.fromEntries(data.entries.map((entry) => [entry.flag, { ...entry, visible: entry.visible === true }]));
  }

  function add(event) {
    const id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
    waiting = [...waiting, { at: Date.now(), event: { id, ...event } }].slice(-500);
    if (!failures) later(1000);
  }

  // Once it is on the screen; for an invisible entry with a token (control) at the moment it would have been.
  function exposed(entry) {
    if (!entry?.exposure_token || entry.exposed) return;
    entry.exposed = true;
    add({ type: 'exposure', token: entry.exposure_token });
  }

  function step(entry, name) {
    if (entry?.exposure_token) add({ type: 'step', step: name, token: entry.exposure_token });
  }

  function later(ms) {
    clearTimeout(timer);
    timer = setTimeout(send, ms);
  }

  // What was not acknowledged is sent again with its id. Call it in onHide too.
  async function send() {
    clearTimeout(timer);
    const batch = waiting.slice(0, 50);
    if (!batch.length) return;
    const events = batch.map(({ at, event }) => ({ ...event, ago_ms: Math.max(0, Date.now() - at) }));
    const { status, data, header } = await post('/v1/events', { events });
    if (status === 0 || status === 429 || status >= 500) {
      failures += 1;
      const wait = Number(header?.['Retry-After'] ?? header?.['retry-after'] ?? 0);
      return later(Math.max(1000 * wait, Math.min(60000, 1000 * 2 ** failures) * (0.5 + Math.random() / 2)));
    }
    failures = 0;
    waiting = waiting.filter((one) => !batch.includes(one));
    if (status !== 200 || data.rejected.length) console.warn('huidu refused', data);
    if (waiting.length) later(0);
  }

  return { decide, exposed, step, send };
}

module.exports = { createHuidu };
