'use strict';
// The service side of a hub through the `Client` of `azure-iothub`, over `Amqp`, which is what it
// takes unless told otherwise, and `AmqpWs`: messages to devices and what became of them.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { Amqp, AmqpWs, Client: ServiceClient } = require('azure-iothub');
const { Message, NoRetry } = require('azure-iot-common');
const { world, uniqueId, withMember, newKey } = require('./support/world');
const { rejectionOf } = require('./support/refusals');
const { eventually, Queue } = require('./support/waiting');
const { openWithKey } = require('./support/connected');
const { operatorsOf } = require('./support/operators');

/** The hub keeps a record for others this long, and then its message may need as long again. */
const FEEDBACK_MS = 40_000;

// Whoever completes feedback takes it from all others, so each transport has a hub of its own.
const TRANSPORTS = { Amqp: [Amqp, 'hub-1'], AmqpWs: [AmqpWs, 'hub-2'] };

async function opened(t, connectionString, transport) {
  const service = ServiceClient.fromConnectionString(connectionString, transport);
  service.setRetryPolicy(new NoRetry());
  t.after(() => service.close());
  await service.open();
  return service;
}

/** A message with these members; `properties` are the application's. */
function messageOf({ body = 'hello', properties = {}, ...members }) {
  const message = new Message(body);
  for (const [name, value] of Object.entries(properties)) message.properties.add(name, value);
  return Object.assign(message, members);
}

/** What the device is sent; what becomes of it is up to the test. */
function listening(client) {
  const messages = new Queue();
  client.on('message', (message) => messages.put(message));
  return messages;
}

for (const [name, [transport, hubName]] of Object.entries(TRANSPORTS)) {
  const { hub, newDevice, nWaiting } = operatorsOf(world.hubs[hubName]);

  describe(`a service over ${name}`, { concurrency: 8 }, () => {
    for (const deviceTransport of ['Amqp', 'Mqtt']) {
      test(`sends messages with their properties to a device over ${deviceTransport}`, async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const service = await opened(t, hub.connectionString, transport);
        const client = await openWithKey(t, deviceTransport, hub, deviceId, primaryKey);
        const messages = listening(client);
        const said = { messageId: 'm/1', correlationId: 'c 1', contentType: 'text/plain', contentEncoding: 'utf-8' };
        const properties = { 'a b/c': '50% = ½ & +', plain: '1' };
        await service.send(deviceId, messageOf({ ...said, properties, body: 'ü' }));
        const got = await messages.next('a message');
        const { messageId, correlationId, contentType, contentEncoding } = got;
        assert.deepEqual({ messageId, correlationId, contentType, contentEncoding }, said);
        assert.equal(got.getData().toString(), 'ü');
        for (const [key, value] of Object.entries(properties)) {
          assert.equal(got.properties.propertyList.find((one) => one.key === key)?.value, value);
        }
        await client.complete(got);
        // The client makes an AMQP uuid of what looks like one.
        const uuid = '0ba1d3c6-2d9e-4a0c-8a1e-0f6b8c1f2a3b';
        await service.send(deviceId, messageOf({ messageId: uuid }));
        const other = await messages.next('a message');
        assert.equal(other.messageId, uuid);
        await client.complete(other);
        await eventually(async () => (await nWaiting(deviceId)) === 0, 'an empty queue');
      });
    }

    test('sends many messages, which wait for the device in their order', async (t) => {
      const { deviceId, primaryKey } = await newDevice();
      const service = await opened(t, hub.connectionString, transport);
      const texts = Array.from({ length: 30 }, (_, n) => `${n}`);
      await service.send(deviceId, messageOf({ body: texts[0] }));
      await Promise.all(texts.slice(1).map((body) => service.send(deviceId, messageOf({ body }))));
      assert.equal(await nWaiting(deviceId), texts.length);
      const client = await openWithKey(t, 'Amqp', hub, deviceId, primaryKey);
      const messages = listening(client);
      const got = [];
      for (const text of texts) {
        const message = await messages.next(`message ${text}`);
        got.push(message.getData().toString());
        await client.complete(message);
      }
      assert.deepEqual(got, texts);
    });

    test('sends many messages on a connection that has no link yet', async (t) => {
      const { deviceId } = await newDevice();
      const service = await opened(t, hub.connectionString, transport);
      // Until one link is open, the client opens another for every message.
      await Promise.all(Array.from({ length: 40 }, () => service.send(deviceId, messageOf({}))));
      assert.equal(await nWaiting(deviceId), 40);
    });

    test('hears what became of its messages, if it asked, until it takes that', async (t) => {
      const [{ deviceId, primaryKey }, away] = [await newDevice(), await newDevice()];
      const service = await opened(t, hub.connectionString, transport);
      const { result: receiver } = await service.getFeedbackReceiver();
      const records = [];
      let nToAbandon = 2;
      receiver.on('message', (message) => {
        assert.equal(message.contentType, 'application/vnd.microsoft.iothub.feedback.json');
        const told = JSON.parse(message.getData().toString());
        const isOurs = told.some((record) => record.originalMessageId === 'taken' && record.deviceId === deviceId);
        if (isOurs && nToAbandon > 0) {
          nToAbandon -= 1;
          receiver.abandon(message);
        } else {
          records.push(...told);
          receiver.complete(message);
        }
      });
      const client = await openWithKey(t, 'Amqp', hub, deviceId, primaryKey);
      const messages = listening(client);
      const sent = {
        taken: { ack: 'full', deed: 'complete' },
        refused: { ack: 'full', deed: 'reject' },
        'taken, and only that': { ack: 'positive', deed: 'complete' },
        'refused, and only that': { ack: 'negative', deed: 'reject' },
        'taken in silence': { ack: 'none', deed: 'complete' },
        'refused in silence': { ack: 'positive', deed: 'reject' },
      };
      for (const [messageId, { ack, deed }] of Object.entries(sent)) {
        await service.send(deviceId, messageOf({ messageId, ack }));
        const got = await messages.next(messageId);
        assert.equal(got.messageId, messageId);
        await client[deed](got);
      }
      await service.send(away.deviceId, messageOf({ messageId: 'too late', ack: 'negative', expiryTimeUtc: Date.now() + 1_000 }));
      const own = () => records.filter((record) => [deviceId, away.deviceId].includes(record.deviceId));
      await eventually(() => own().length >= 5, 'feedback', FEEDBACK_MS);
      const verdicts = Object.fromEntries(own().map(({ originalMessageId, statusCode }) => [originalMessageId, statusCode]));
      assert.deepEqual(verdicts, {
        taken: 'Success',
        refused: 'Rejected',
        'taken, and only that': 'Success',
        'refused, and only that': 'Rejected',
        'too late': 'Expired',
      });
      assert.deepEqual([own().length, nToAbandon], [5, 0]);
      for (const { description, deviceGenerationId, enqueuedTimeUtc } of own()) {
        assert.ok(description && deviceGenerationId);
        assert.ok(Math.abs(Date.parse(enqueuedTimeUtc) - Date.now()) < 120_000, enqueuedTimeUtc);
      }
    });

    test('may wait for file notifications', async (t) => {
      const service = await opened(t, hub.connectionString, transport);
      const { result: receiver } = await service.getFileNotificationReceiver();
      const { deviceId } = await newDevice();
      // The link is there, and those beside it work.
      await service.send(deviceId, messageOf({}));
      assert.equal(await nWaiting(deviceId), 1);
      await receiver.detach();
    });
  });

  describe(`a service is refused over ${name}`, { concurrency: 8 }, () => {
    test('when there is no such device', async (t) => {
      const service = await opened(t, hub.connectionString, transport);
      const error = await rejectionOf(service.send(uniqueId('stranger'), messageOf({})));
      assert.equal(error.name, 'DeviceNotFoundError', `${error}`);
      assert.equal(error.amqpError.condition, 'amqp:not-found');
    });

    test('when the queue is full, and not when there is room again', async (t) => {
      const { deviceId, primaryKey } = await newDevice();
      const service = await opened(t, hub.connectionString, transport);
      for (let n = 0; n < 50; n += 1) await service.send(deviceId, messageOf({}));
      const error = await rejectionOf(service.send(deviceId, messageOf({})));
      assert.equal(error.name, 'DeviceMaximumQueueDepthExceededError', `${error}`);
      const client = await openWithKey(t, 'Amqp', hub, deviceId, primaryKey);
      const messages = listening(client);
      await client.complete(await messages.next('a message'));
      await eventually(async () => (await nWaiting(deviceId)) < 50, 'room');
      await service.send(deviceId, messageOf({}));
    });

    test('when the message is too large', async (t) => {
      const { deviceId } = await newDevice();
      const service = await opened(t, hub.connectionString, transport);
      const error = await rejectionOf(service.send(deviceId, messageOf({ body: 'x'.repeat(64 * 1024 + 1) })));
      assert.equal(error.name, 'MessageTooLargeError', `${error}`);
      await service.send(deviceId, messageOf({ body: 'x'.repeat(60 * 1024) }));
      assert.equal(await nWaiting(deviceId), 1);
    });

    const refusals = {
      'with a wrong key': withMember(hub.connectionString, 'SharedAccessKey', newKey()),
      'with a policy that there is not': withMember(hub.connectionString, 'SharedAccessKeyName', 'nobody'),
      'with a policy that may not send': hub.policies.registryReadWrite,
    };
    for (const [how, connectionString] of Object.entries(refusals)) {
      test(how, async (t) => {
        const { deviceId } = await newDevice();
        const act = async () => (await opened(t, connectionString, transport)).send(deviceId, messageOf({}));
        // The client knows one text for all that goes wrong there, and keeps what it was told inside.
        const { amqpError } = await rejectionOf(act());
        assert.equal(amqpError.name, 'UnauthorizedError', `${amqpError}`);
        assert.equal(await nWaiting(deviceId), 0);
      });
    }
  });
}
