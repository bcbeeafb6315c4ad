// A React page with the example `react.jsx`.
import { OpenFeatureProvider } from '@openfeature/react-sdk';
import { createRoot } from 'react-dom/client';
import { PaymentEntry } from '../../examples/frontend/react.jsx';
import { openCheckout } from '../../examples/frontend/web.js';

function Scan({ value, step, begin, end }) {
  const pay = () => { begin(); step('code_shown'); };
  return <>
    <button id="open" onClick={() => step('entry_opened')}>{`scan: ${value}`}</button>
    <button id="pay" onClick={pay}>pay</button>
    <button id="done" onClick={end}>done</button>
  </>;
}

globalThis.shop = {
  // As an app does it: drawn at once, told of the answer when it is there.
  start: async (options, flag, off) => {
    createRoot(document.getElementById('app')).render(
      <OpenFeatureProvider>
        <PaymentEntry flag={flag} off={off}>{(entry) => <Scan {...entry} />}</PaymentEntry>
      </OpenFeatureProvider>,
    );
    await openCheckout(options);
  },
};
