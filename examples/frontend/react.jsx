// A payment entry in React. Once per app: openCheckout(...) of web.js, and <OpenFeatureProvider> around the page.
import { useEffect, useRef, useState } from 'react';
import { useFlag, useTrack } from '@openfeature/react-sdk';
import { watch } from './web.js';

export function usePaymentEntry(flag, off) {
  const place = useRef(null);
  const { value } = useFlag(flag, off);
  const { track } = useTrack();
  const [held, hold] = useState(); // what a payment under way was begun with
  useEffect(() => watch(place.current, flag), [flag]);
  const shown = held ?? value;
  return {
    place,
    value: shown,
    visible: shown !== off,
    step: (name) => track(name, { flag }),
    begin: () => hold(shown),
    end: () => hold(undefined),
  };
}

// The place stays in the page for everybody; the children are drawn for those who may see the entry.
export function PaymentEntry({ flag, off, children }) {
  const { place, visible, ...entry } = usePaymentEntry(flag, off);
  return <div ref={place}>{visible && children(entry)}</div>;
}
