// huidu in a page: which payment entries to show, and what the shopper was shown and did.
import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';

const BATCH_MAX = 50; // a page that goes away may send 64 KiB in all
const WAITING_MAX = 500;

// OpenFeature's provider for huidu, with what it lacks: `track`.
export class HuiduProvider extends OFREPWebProvider {
  constructor({ baseUrl, key, ...options }) {
    const headers = [['Authorization', `Bearer ${key}`]];
    super({ baseUrl, headers, timeoutMs: 2_000, cacheMode: 'disabled', pollInterval: 60_000, ...options });
    this.reports = new Reports(`${baseUrl}/v1/events`, headers);
    this.shown = new Map();
  }

  // The token of what this shopper was shown last; for links, QR codes and the payment backend.
  token(flag) {
    return this.shown.get(flag) ?? this.flagCache[flag]?.metadata?.exposureToken;
  }

  // client.track('exposure', { flag }) once it is on the screen, client.track('qr_shown', { flag }) for a stop of its funnel.
  track(name, _context, { flag } = {}) {
    if (name === 'exposure') {
      const token = this.flagCache[flag]?.metadata?.exposureToken;
      if (!token || this.shown.get(flag) === token) return;
      this.shown.set(flag, token);
      this.reports.add({ type: 'exposure', token });
    } else if (this.token(flag)) {
      this.reports.add({ type: 'step', step: name, token: this.token(flag) });
    }
  }

  async onContextChange(before, after) {
    if (before.targetingKey !== after.targetingKey) this.shown.clear();
    await super.onContextChange(before, after);
  }

  async onClose() {
    this.reports.send();
    await super.onClose();
  }
}

// Sends events in batches. One that was not acknowledged is sent again with its id, so that it counts once.
class Reports {
  constructor(url, headers) {
    this.url = url;
    this.headers = [...headers, ['Content-Type', 'application/json']];
    this.waiting = [];
    this.failures = 0;
    addEventListener('pagehide', () => this.send());
    addEventListener('visibilitychange', () => document.visibilityState === 'hidden' && this.send());
  }

  add(event) {
    this.waiting.push({ at: performance.now(), event: { id: newId(), ...event } });
    this.waiting.splice(0, this.waiting.length - WAITING_MAX);
    if (!this.failures) this.later(1_000);
  }

  later(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), ms);
  }

  async send() {
    const batch = this.waiting.slice(0, BATCH_MAX);
    if (!batch.length) return;
    clearTimeout(this.timer);
    const now = performance.now(); // the shopper's clock may be wrong: huidu is told how long ago it was
    const events = batch.map(({ at, event }) => ({ ...event, ago_ms: Math.round(now - at) }));
    const init = { method: 'POST', headers: this.headers, body: JSON.stringify({ events }), keepalive: true };
    const answer = await fetch(this.url, init).catch(() => undefined); // keepalive: it outlives the page
    if (!answer || answer.status === 429 || answer.status >= 500) {
      this.failures += 1;
      const pause = Math.min(60_000, 1_000 * 2 ** this.failures) * (0.5 + Math.random() / 2);
      return this.later(Math.max(pause, 1_000 * (answer?.headers.get('Retry-After') ?? 0)));
    }
    this.failures = 0;
    this.waiting = this.waiting.filter((one) => !batch.includes(one));
    const refused = answer.ok ? (await answer.json()).rejected : [await answer.text()];
    if (refused.length) console.warn('huidu refused', refused);
    if (this.waiting.length) this.later(0);
  }
}

const newId = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

// What huidu is told of shopper and order. A guest has no id: then only flags of another unit are decided.
export const context = ({ id, ...shopper }, { goods, ...order }) =>
  ({ ...(id && { targetingKey: id }), ...shopper, order, goods });

// The one call of a page. Without an answer every entry stays hidden.
export async function openCheckout({ baseUrl, key, shopper, order, ...options }) {
  const provider = new HuiduProvider({ baseUrl, key, ...options });
  await OpenFeature.setProviderAndWait(provider, context(shopper, order))
    .catch((error) => console.warn('huidu does not answer, no entry is shown:', error));
  return provider;
}

const CHANGES = [ProviderEvents.Ready, ProviderEvents.ConfigurationChanged, ProviderEvents.ContextChanged];

// Calls `react` now and at each later answer; gives what ends that.
export function atChange(react) {
  const client = OpenFeature.getClient();
  CHANGES.forEach((event) => client.addHandler(event, react));
  react();
  return () => CHANGES.forEach((event) => client.removeHandler(event, react));
}

// Reports the exposure when `place` is really seen. The place stands in the page for everybody, also where the entry
// is hidden: the control group has "seen" it there. Gives what ends the watch.
export function watch(place, flag) {
  let seen = false;
  const report = () => seen && OpenFeature.getClient().track('exposure', { flag });
  const observer = new IntersectionObserver((changes) => {
    seen ||= changes.some((change) => change.isIntersecting);
    report();
  });
  observer.observe(place);
  const end = atChange(report);
  return () => { observer.disconnect(); end(); };
}

// One entry. `show(value)` draws it, `show(off)` hides it; `off` is the default of the code: nothing.
export function entry(place, flag, off, show) {
  const client = OpenFeature.getClient();
  const value = () => (typeof off === 'string' ? client.getStringValue(flag, off) : client.getBooleanValue(flag, off));
  let paying = false;
  // A change hides it at once, but never pulls a payment that is under way.
  const paint = () => paying || show(value());
  const ends = [atChange(paint), watch(place, flag)];
  return {
    step: (name) => client.track(name, { flag }),
    begin: () => { paying = true; },
    end: () => { paying = false; paint(); },
    close: () => ends.forEach((end) => end()),
  };
}

// The link that a friend gets, or what stands in the QR code. Only huidu can read the token.
export function paymentLink(page, token) {
  const link = new URL(page);
  link.searchParams.set('huidu', token);
  return link.href;
}
