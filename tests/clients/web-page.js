// What a page of the tests has at hand: the SDK and the provider, as they are.
import { ClientProviderEvents, OpenFeature } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';

const heard = [];

// Starts the provider; the outcome is told, never thrown.
async function start(options, context) {
  for (const event of Object.values(ClientProviderEvents)) {
    OpenFeature.addHandler(event, ({ flagsChanged, message }) => heard.push({ event, flagsChanged, message }));
  }
  const { key, ...rest } = options;
  const provider = new OFREPWebProvider({ headers: [['Authorization', `Bearer ${key}`]], ...rest });
  try {
    await OpenFeature.setProviderAndWait(provider, context);
    return 'ready';
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

const details = (kind, flag, off) => OpenFeature.getClient()[`get${kind}Details`](flag, off);

globalThis.kit = { OpenFeature, details, heard, start };
