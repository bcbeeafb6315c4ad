// The checkout of a shop: one entry. `place` is an element that is in the page for everybody, with a hidden button.
import { entry, openCheckout, paymentLink } from './web.js';

const FLAG = 'wechat-scan-pay';

export async function checkout({ baseUrl, key, shopper, order }, place, drawCode) {
  const huidu = await openCheckout({ baseUrl, key, shopper, order });
  const button = place.querySelector('button');
  const scan = entry(place, FLAG, false, (value) => { button.hidden = !value; });
  button.addEventListener('click', () => {
    scan.begin(); // from here on no change takes it away
    scan.step('entry_clicked');
    drawCode(paymentLink(`https://shop.example/pay/${order.id}`, huidu.token(FLAG)));
    scan.step('qr_shown');
  });
  return scan; // scan.end() when the payment is done or given up
}
