'use strict';
// Devices at their hub through `azure-iot-device` with the classes of `azure-iot-device-amqp`:
// `Amqp` on port 5671, and `AmqpWs` in WebSockets. Operators are `azure-iothub`.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { NoRetry } = require('azure-iot-common');
const { Client, Message, SharedAccessKeyAuthenticationProvider } = require('azure-iot-device');
const { rejectionOf } = require('./support/refusals');
const { sendMessage, eventsOf } = require('./support/rest');
const { eventually, Queue } = require('./support/waiting');
const { OVER_AMQP, TRANSPORTS, stringOf, opened, openWithKey, listen } = require('./support/connected');
const { devicesAtTheirHub, operators } = require('./support/device_scenarios');
const { deviceToken } = require('./support/tokens');

const { hub, newDevice, deeds, change, invoke, stateOf, nWaiting, worksInFull } = operators;

/** The contract is 20 seconds; the server's own aim is one. */
const CUT_OFF_MS = 5_000;

// Most of the time is waiting, so the transports wait side by side.
describe('over AMQP', { concurrency: true }, () => {
  devicesAtTheirHub({
    transports: OVER_AMQP,
    dropped: ['userId'],
    isKeptOut: (error) => assert.ok(['UnauthorizedError', 'DeviceNotFoundError'].includes(error.name), `${error.name}: ${error}`),
    cutOff(_client, name) {
      const began = Date.now();
      // A device that is no more, or one that must prove itself anew.
      const [as, condition] =
        name === 'given other keys' ? ['UnauthorizedError', 'amqp:unauthorized-access'] : ['DeviceNotFoundError', 'amqp:not-found'];
      return (reason) => {
        assert.equal(reason.transportObj?.name, as);
        assert.equal(reason.transportObj.amqpError.condition, condition);
        assert.ok(Date.now() - began < CUT_OFF_MS, `told after ${Date.now() - began} ms`);
      };
    },
  });

  for (const transport of OVER_AMQP) {
    describe(`a device over ${transport}`, { concurrency: 8 }, () => {
      test('is known by every kind of message id', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
        // The client makes an AMQP uuid of what looks like one.
        const ids = ['text', '0ba1d3c6-2d9e-4a0c-8a1e-0f6b8c1f2a3b'];
        for (const messageId of ids) await client.sendEvent(Object.assign(new Message('x'), { messageId, correlationId: messageId }));
        const events = await eventsOf(hub, deviceId, ids.length);
        assert.deepEqual(events.map(({ properties }) => properties.messageId), ids);
        assert.deepEqual(events.map(({ properties }) => properties.correlationId), ids);
      });

      test('sends many events at once, in their order', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
        const texts = Array.from({ length: 300 }, (_, n) => `${n}`);
        await Promise.all(texts.map((text) => client.sendEvent(new Message(text))));
        const events = await eventsOf(hub, deviceId, texts.length);
        assert.deepEqual(events.map(({ bodyBase64 }) => Buffer.from(bodyBase64, 'base64').toString()), texts);
        // A batch is one thing this client has not learned.
        const unknown = await rejectionOf((async () => client.sendEventBatch([new Message('a'), new Message('b')]))());
        assert.equal(unknown.name, 'NotImplementedError');
      });

      test('sends the largest event there is, and is told of one that is too large', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
        client.setRetryPolicy(new NoRetry());
        const error = await rejectionOf(client.sendEvent(new Message(Buffer.alloc(256 * 1024 + 1))));
        assert.equal(error.name, 'MessageTooLargeError', `${error}`);
        await client.sendEvent(new Message(Buffer.alloc(255 * 1024, 'x')));
        const [event] = await eventsOf(hub, deviceId, 1);
        assert.equal(Buffer.from(event.bodyBase64, 'base64').length, 255 * 1024);
      });

      test('completes, abandons and rejects messages', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
        const messages = new Queue();
        client.on('message', (message) => messages.put(message));
        const next = async (messageId) => {
          const message = await messages.next(messageId);
          assert.equal(message.messageId, messageId);
          return message;
        };
        await sendMessage(hub, deviceId, { messageId: 'abandoned', bodyText: 'x' });
        await client.abandon(await next('abandoned'));
        const again = await next('abandoned');
        assert.equal(await nWaiting(deviceId), 1);
        await client.complete(again);
        await sendMessage(hub, deviceId, { messageId: 'rejected', bodyText: 'x' });
        await client.reject(await next('rejected'));
        await eventually(async () => (await nWaiting(deviceId)) === 0, 'an empty queue');
        const error = await rejectionOf(client.complete(again));
        assert.equal(error.name, 'DeviceMessageLockLostError');
      });

      test('takes what waited for it, in its order', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const ids = ['1', '2', '3'];
        for (const messageId of ids) await sendMessage(hub, deviceId, { messageId, bodyText: messageId });
        const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
        const heard = await listen(client);
        for (const messageId of ids) assert.equal((await heard.messages.next('a message')).messageId, messageId);
        await eventually(async () => (await nWaiting(deviceId)) === 0, 'an empty queue');
      });

      test('renews its token on the connection it has', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const keys = SharedAccessKeyAuthenticationProvider.fromConnectionString(stringOf(hub, deviceId, primaryKey));
        const client = await opened(t, Client.fromAuthenticationProvider(keys, TRANSPORTS[transport]));
        const heard = await listen(client);
        const changes = new Queue();
        for (const name of ['connect', 'disconnect']) client.on(name, () => changes.put(name));
        const renewals = new Queue();
        keys.on('newTokenAvailable', () => renewals.put(true));
        keys.setTokenRenewalValues(4, 2);
        for (const nth of ['first', 'second', 'third']) await renewals.next(`a ${nth} renewal`);
        keys.setTokenRenewalValues(3600, 900);
        await worksInFull(client, heard, deviceId, 1);
        assert.deepEqual([changes.length, heard.errors.length], [0, 0]);
      });

      test('is cut off at the end of its token', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const began = Date.now();
        const client = await opened(t, Client.fromSharedAccessSignature(deviceToken(hub, deviceId, primaryKey, 8), TRANSPORTS[transport]));
        const heard = await listen(client);
        const [reason] = await once(client, 'disconnect');
        // A token's end is a whole second, at most one less than its life from now.
        const tookMs = Date.now() - began;
        assert.ok(tookMs >= 7_000 && tookMs < 16_000, `after ${tookMs} ms`);
        assert.equal(reason.transportObj?.name, 'UnauthorizedError', `${reason.transportObj}`);
        await eventually(async () => (await stateOf(deviceId)) === 'Disconnected', 'disconnected');
        assert.equal(heard.messages.length, 0);
      });

      test('opens and works again once it is enabled again', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
        client.on('error', () => {});
        await client.sendEvent(new Message('before'));
        const disconnected = once(client, 'disconnect');
        await deeds.disabled(deviceId);
        await disconnected;
        await eventually(async () => (await stateOf(deviceId)) === 'Disconnected', 'disconnected');
        await change(deviceId, { status: 'enabled' });
        await client.open();
        await client.sendEvent(new Message('after'));
        await eventsOf(hub, deviceId, 2);
      });

      test('gives its place to who comes later', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const [first, second] = [
          await openWithKey(t, transport, hub, deviceId, primaryKey),
          await openWithKey(t, transport, hub, deviceId, primaryKey),
        ];
        first.setRetryPolicy(new NoRetry());
        const heardByFirst = await listen(first);
        assert.equal((await invoke(deviceId)).status, 207);
        await heardByFirst.calls.next('a call');
        const disconnected = once(first, 'disconnect');
        const heard = await listen(second);
        await disconnected;
        await worksInFull(second, heard, deviceId, 1);
        assert.deepEqual([heardByFirst.calls.length, heardByFirst.messages.length], [0, 0]);
        assert.equal(await stateOf(deviceId), 'Connected');
      });
    });
  }
});
