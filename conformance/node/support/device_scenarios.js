'use strict';
// What devices do at their hub, the same over every transport. A `family` says over which ones, and
// how its clients tell that a device was refused.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { Client, Message, SharedAccessKeyAuthenticationProvider } = require('azure-iot-device');
const { world, provisioningService, uniqueId, newKey } = require('./world');
const { rejectionOf } = require('./refusals');
const { registerWithKey } = require('./devices');
const { authority, leaf, sha256 } = require('./certificates');
const { uploadAuthority, sendMessage, eventsOf } = require('./rest');
const { eventually, Queue } = require('./waiting');
const { TRANSPORTS, stringOf, opened, openWithKey, openWithCertificate, listen, patchOf, report } = require('./connected');
const { operatorsOf } = require('./operators');
const { deviceToken } = require('./tokens');

const operators = operatorsOf(world.hubs['hub-1']);
const { hub, registry, newDevice, deeds, desire, invoke, refusedOffline, stateOf, nWaiting, worksInFull } = operators;

/** What these scenarios compare of an event. */
function shown({ messageId, correlationId, userId, contentType, contentEncoding }) {
  return { messageId, correlationId, userId, contentType, contentEncoding };
}

/**
 * `family` has
 * - `transports`: names of `TRANSPORTS`;
 * - `dropped`: the properties of an event that its clients do not send;
 * - `isKeptOut(error)`: checks what becomes of a device with no right to connect;
 * - `cutOff(client, name)`: gets a client ready to be cut off by one of `deeds`; what it makes checks
 *   what is told then.
 */
function devicesAtTheirHub({ transports, dropped, isKeptOut, cutOff }) {
  for (const transport of transports) {
    describe(`a device at its hub over ${transport}`, { concurrency: 8 }, () => {
      test('sends events with their properties', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
        const message = new Message(JSON.stringify({ t: 21.5 }));
        const said = { messageId: 'm/1', correlationId: 'c=1&d', userId: 'u 1', contentType: 'application/json', contentEncoding: 'utf-8' };
        Object.assign(message, said);
        const properties = { plain: '1', 'a b/c': '50% = ½ & +', empty: '' };
        for (const [name, value] of Object.entries(properties)) message.properties.add(name, value);
        await client.sendEvent(message);
        await Promise.all([1, 2, 3].map((n) => client.sendEvent(new Message(`text ${n}`))));
        const [rich, ...bare] = await eventsOf(hub, deviceId, 4);
        assert.deepEqual(rich.body, { t: 21.5 });
        assert.deepEqual(rich.applicationProperties, properties);
        const left = Object.fromEntries(dropped.map((name) => [name, undefined]));
        assert.deepEqual(shown(rich.properties), { ...said, ...left });
        const texts = bare.map(({ bodyBase64 }) => Buffer.from(bodyBase64, 'base64').toString());
        assert.deepEqual(texts, ['text 1', 'text 2', 'text 3']);
      });

      test('reads and reports its twin', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        await desire(deviceId, { interval: 60, deep: { er: 1 } });
        const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
        const twin = await client.getTwin();
        assert.deepEqual(twin.properties.desired, { interval: 60, deep: { er: 1 }, $version: 2 });
        await report(twin, { battery: 80, list: [1, { a: 2 }], gone: 1 });
        await report(twin, { gone: null });
        const refusal = await rejectionOf(report(twin, { big: 'x'.repeat(4097) }));
        assert.ok(refusal.message);
        const { reported } = (await registry.getTwin(deviceId)).responseBody.properties;
        assert.deepEqual([reported.battery, reported.list, reported.gone, reported.$version], [80, [1, { a: 2 }], undefined, 3]);
      });

      test('hears of desired changes, answers methods and takes messages', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        await refusedOffline(deviceId);
        const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
        const heard = await listen(client);
        for (const payload of ['text', { deep: [1, 'ü'] }, 3]) {
          assert.deepEqual(await invoke(deviceId, payload), { status: 207, payload: { method: 'reboot', got: payload } });
        }
        const properties = { 'a b/c': '50% = ½ & +' };
        const said = { messageId: 'm/1', correlationId: 'c/1', contentType: 'text/plain' };
        await sendMessage(hub, deviceId, { ...said, properties, bodyText: 'ü' });
        const message = await heard.messages.next('a message');
        assert.deepEqual([message.messageId, message.correlationId, message.contentType], ['m/1', 'c/1', 'text/plain']);
        assert.equal(message.getData().toString(), 'ü');
        const own = message.properties.propertyList.find(({ key }) => key === 'a b/c');
        assert.equal(own?.value, properties['a b/c']);
        await eventually(async () => (await nWaiting(deviceId)) === 0, 'an empty queue');
        const version = await desire(deviceId, { a: { b: 1 } });
        assert.deepEqual(await patchOf(heard, version), { a: { b: 1 }, $version: version });
        assert.equal(await stateOf(deviceId), 'Connected');
        await client.close();
        await eventually(async () => (await stateOf(deviceId)) === 'Disconnected', 'disconnected');
        await refusedOffline(deviceId);
      });

      test('renews its token without subscribing again', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const keys = SharedAccessKeyAuthenticationProvider.fromConnectionString(stringOf(hub, deviceId, primaryKey));
        const client = await opened(t, Client.fromAuthenticationProvider(keys, TRANSPORTS[transport]));
        const heard = await listen(client);
        await worksInFull(client, heard, deviceId, 1);
        const renewals = new Queue();
        keys.on('newTokenAvailable', () => renewals.put(true));
        // A life of 4 s from now on, renewed after 2: when the third comes, the first is at its end.
        keys.setTokenRenewalValues(4, 2);
        for (const nth of ['first', 'second', 'third']) await renewals.next(`a ${nth} renewal`);
        // An answer that is on its way when the client leaves is lost to it: no more renewals.
        keys.setTokenRenewalValues(3600, 900);
        await worksInFull(client, heard, deviceId, 2);
        assert.equal(heard.errors.length, 0);
      });

      test('is handed a new token while it listens', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const token = () => deviceToken(hub, deviceId, primaryKey);
        const client = await opened(t, Client.fromSharedAccessSignature(token(), TRANSPORTS[transport]));
        const heard = await listen(client);
        for (const nEvents of [1, 2, 3]) {
          await new Promise((resolve, reject) => {
            client.updateSharedAccessSignature(token(), (error) => (error ? reject(error) : resolve()));
          });
          await worksInFull(client, heard, deviceId, nEvents);
        }
        assert.equal(heard.errors.length, 0);
      });

      test('proves itself by a thumbprint or an authority', async (t) => {
        const [byThumbprint, byAuthority] = [uniqueId('cnc'), uniqueId('cnc')];
        const [mine, root] = [leaf('any name'), authority(uniqueId('root'))];
        const primaryThumbprint = sha256(mine);
        const x509Thumbprint = { primaryThumbprint, secondaryThumbprint: primaryThumbprint };
        await registry.create({ deviceId: byThumbprint, authentication: { type: 'selfSigned', x509Thumbprint } });
        await registry.create({ deviceId: byAuthority, authentication: { type: 'certificateAuthority' } });
        await uploadAuthority(uniqueId('ca'), root);
        const act = async (deviceId, credentials) => {
          const client = await openWithCertificate(t, transport, hub, deviceId, credentials);
          await client.sendEvent(new Message('by certificate'));
        };
        for (const [deviceId, credentials] of [[byThumbprint, mine], [byAuthority, leaf(byAuthority, root)]]) {
          await act(deviceId, credentials);
          await eventsOf(hub, deviceId, 1);
        }
        isKeptOut(await rejectionOf(act(byAuthority, mine)));
      });

      for (const [name, deed] of Object.entries(deeds)) {
        test(`is cut off when it is ${name}, and kept out`, async (t) => {
          const device = await newDevice();
          const client = await openWithKey(t, transport, hub, device.deviceId, device.primaryKey);
          const heard = await listen(client);
          await worksInFull(client, heard, device.deviceId, 1);
          assert.equal(heard.errors.length, 0);
          const isTold = cutOff(client, name);
          const disconnected = once(client, 'disconnect');
          await deed(device.deviceId);
          isTold((await disconnected)[0]);
          isKeptOut(await rejectionOf(client.open()));
        });
      }

      test('is told that a wrong key opens nothing', async (t) => {
        const { deviceId } = await newDevice();
        isKeptOut(await rejectionOf(openWithKey(t, transport, hub, deviceId, newKey())));
        isKeptOut(await rejectionOf(openWithKey(t, transport, hub, uniqueId('stranger'), newKey())));
        assert.equal(await stateOf(deviceId), 'Disconnected');
      });

      test('goes to work where it was provisioned', async (t) => {
        const enrollment = { registrationId: uniqueId('press'), attestation: { type: 'symmetricKey' } };
        const initialTwin = { properties: { desired: { interval: 60 } } };
        const { responseBody } = await provisioningService().createOrUpdateIndividualEnrollment({ ...enrollment, initialTwin });
        const { primaryKey } = responseBody.attestation.symmetricKey;
        const { assignedHub, deviceId } = await registerWithKey(enrollment.registrationId, primaryKey, { transport });
        const assigned = Object.values(world.hubs).find(({ host }) => host === assignedHub);
        const client = await openWithKey(t, transport, assigned, deviceId, primaryKey);
        assert.equal((await client.getTwin()).properties.desired.interval, 60);
        await client.sendEvent(new Message('at work'));
        await eventsOf(assigned, deviceId, 1);
      });
    });
  }
}

module.exports = { devicesAtTheirHub, operators };
