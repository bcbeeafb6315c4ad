// huidu behind the shop: decide for a page made on the server, let a payment pass, report what only the shop knows.
import { OFREPProvider } from '@openfeature/ofrep-provider';

const RETRIES = 5;

export function createHuidu({ baseUrl, key, timeoutMs = 1_000 }) {
  const post = (path, body) =>
    fetch(baseUrl + path, {
      method: 'POST',
      headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs),
    });

  // The entries to show, by flag. Without an answer: none.
  async function decide(user, order, placement = 'checkout') {
    try {
      const answer = await post('/v1/decisions', { placement, user, order });
      if (!answer.ok) return {};
      const { entries } = await answer.json();
      return Object.fromEntries(entries.filter(({ visible }) => visible).map((entry) => [entry.flag, entry]));
    } catch {
      return {};
    }
  }

  // Whether a payment through `flag` may be taken for `shopper`: ask before the payment is made. No answer is a no.
  async function mayTake(token, flag, shopper) {
    try {
      const answer = await post('/v1/tokens/verify', { token });
      const told = await answer.json();
      return answer.ok && told.valid && told.visible && told.open && told.flag === flag && told.unit === shopper;
    } catch {
      return false;
    }
  }

  // Sends events until they are stored. Ids are the shop's own, so a repetition counts once. Throws when huidu stays
  // away: keep the events and send the same ones again, up to 31 days later.
  async function report(events) {
    for (let tries = 1; ; tries += 1) {
      const answer = await post('/v1/events', { events }).catch(() => undefined);
      if (answer?.ok) return answer.json();
      const again = !answer || answer.status === 429 || answer.status >= 500;
      if (!again || tries === RETRIES) throw new Error(`huidu took no events: ${answer?.status ?? 'no answer'}`);
      const wait = Math.max(1_000 * (answer?.headers.get('Retry-After') ?? 0), 100 * 2 ** tries);
      await new Promise((done) => setTimeout(done, wait));
    }
  }

  // The order was paid, by whatever way; `amount` in the minor unit. `token`: it was paid through that entry.
  function orderPaid({ id, shopper, amount, currency, method, token, at = new Date().toISOString() }) {
    const paid = {
      id: `${id}-paid`, type: 'step', step: 'order_paid', user_id: shopper, order_id: id,
      value: amount, currency, attributes: { payment_method: method }, at,
    };
    const through = token && { id: `${id}-entry`, type: 'step', step: 'entry_paid', order_id: id, token, at };
    return report(through ? [paid, through] : [paid]);
  }

  // For single flags that are no entries: await OpenFeature.setProviderAndWait(huidu.provider()).
  // Its own requests know no time-out, so it is given one.
  const provider = () =>
    new OFREPProvider({
      baseUrl,
      headers: [['Authorization', `Bearer ${key}`]],
      fetchImplementation: (request) => fetch(request, { signal: AbortSignal.timeout(timeoutMs) }),
    });

  return { decide, mayTake, report, orderPaid, provider };
}
