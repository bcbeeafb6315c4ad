// A shop's page with the example `web.js`, and a place for an entry.
import { OpenFeature } from '@openfeature/web-sdk';
import { checkout } from '../../examples/frontend/checkout.js';
import * as huidu from '../../examples/frontend/web.js';

// An entry at the end of the page; `far` puts it below what is seen.
function mount(flag, off, far) {
  const place = document.createElement('div');
  place.id = flag;
  if (far) place.style.marginTop = '5000px';
  document.body.append(place);
  return huidu.entry(place, flag, off, (value) => { place.textContent = value === off ? '' : `pay: ${value}`; });
}

globalThis.shop = { OpenFeature, checkout, mount, ...huidu };
