'use strict';
// Devices at their hub through `azure-iot-device` with the classes of `azure-iot-device-mqtt`:
// `Mqtt` on port 8883, and `MqttWs` in WebSockets. Operators are `azure-iothub`.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { Client: ServiceClient } = require('azure-iothub');
const { ExponentialBackOffWithJitter, NoRetry, SharedAccessSignature } = require('azure-iot-common');
const { Client, Message, SharedAccessKeyAuthenticationProvider } = require('azure-iot-device');
const { world, provisioningService, registryOf, uniqueId, newKey } = require('./support/world');
const { rejectionOf } = require('./support/refusals');
const { registerWithKey } = require('./support/devices');
const { authority, leaf, sha256 } = require('./support/certificates');
const { uploadAuthority, sendMessage, eventsOf } = require('./support/rest');
const { eventually, Queue } = require('./support/waiting');
const {
  TRANSPORTS,
  stringOf,
  opened,
  openWithKey,
  openWithCertificate,
  listen,
  patchOf,
  report,
} = require('./support/connected');

const hub = world.hubs['hub-1'];
const registry = registryOf('hub-1');
const service = ServiceClient.fromConnectionString(hub.connectionString);

async function newDevice() {
  const [primaryKey, secondaryKey] = [newKey(), newKey()];
  const deviceId = uniqueId('node');
  await registry.create({ deviceId, authentication: { symmetricKey: { primaryKey, secondaryKey } } });
  return { deviceId, primaryKey };
}

/** Changes an identity as it is now. */
async function change(deviceId, changes) {
  const { responseBody } = await registry.get(deviceId);
  await registry.update({ ...responseBody, ...changes });
}

/** Sets desired properties; says which version they have then. */
async function desire(deviceId, desired) {
  const { responseBody } = await registry.updateTwin(deviceId, { properties: { desired } }, '*');
  return responseBody.properties.desired.$version;
}

async function invoke(deviceId, payload = { in: [1, null] }) {
  const { result } = await service.invokeDeviceMethod(deviceId, { methodName: 'reboot', payload, responseTimeoutInSeconds: 10 });
  return result;
}

async function stateOf(deviceId) {
  return (await registry.getTwin(deviceId)).responseBody.connectionState;
}

/** Everything a device can do, on a client that listens already: nothing is subscribed here. */
async function worksInFull(client, heard, deviceId, nEvents) {
  await client.sendEvent(new Message(`again ${nEvents}`));
  await eventsOf(hub, deviceId, nEvents);
  await report(heard.twin, { n: nEvents });
  assert.equal((await client.getTwin()).properties.reported.n, nEvents);
  assert.deepEqual(await invoke(deviceId), { status: 207, payload: { method: 'reboot', got: { in: [1, null] } } });
  await sendMessage(hub, deviceId, { messageId: `m${nEvents}`, bodyText: 'hello' });
  assert.equal((await heard.messages.next('a message')).messageId, `m${nEvents}`);
  const version = await desire(deviceId, { n: nEvents });
  assert.deepEqual(await patchOf(heard, version), { n: nEvents, $version: version });
  assert.equal(heard.errors.length, 0);
}

// Most of the time is waiting, so the transports wait side by side.
describe('over MQTT', { concurrency: true }, () => {
  for (const transport of Object.keys(TRANSPORTS)) {
    describe(`a device at its hub over ${transport}`, { concurrency: 8 }, () => {
      test('sends events with their properties', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
        const message = new Message(JSON.stringify({ t: 21.5 }));
        Object.assign(message, { messageId: 'm/1', correlationId: 'c=1&d', userId: 'u 1' });
        Object.assign(message, { contentType: 'application/json', contentEncoding: 'utf-8' });
        const properties = { plain: '1', 'a b/c': '50% = ½ & +', empty: '' };
        for (const [name, value] of Object.entries(properties)) message.properties.add(name, value);
        await client.sendEvent(message);
        await Promise.all([1, 2, 3].map((n) => client.sendEvent(new Message(`text ${n}`))));
        const [rich, ...bare] = await eventsOf(hub, deviceId, 4);
        assert.deepEqual(rich.body, { t: 21.5 });
        assert.deepEqual(rich.applicationProperties, properties);
        const { messageId, correlationId, userId, contentType, contentEncoding } = rich.properties;
        assert.deepEqual([messageId, correlationId, userId], ['m/1', 'c=1&d', 'u 1']);
        assert.deepEqual([contentType, contentEncoding], ['application/json', 'utf-8']);
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
        const nWaiting = async () => (await registry.get(deviceId)).responseBody.cloudToDeviceMessageCount;
        await eventually(async () => (await nWaiting()) === 0, 'an empty queue');
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
      });

      test('is handed a new token while it listens', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const token = () => tokenOf(deviceId, primaryKey);
        const client = await opened(t, Client.fromSharedAccessSignature(token(), TRANSPORTS[transport]));
        const heard = await listen(client);
        for (const nEvents of [1, 2, 3]) {
          await new Promise((resolve, reject) => {
            client.updateSharedAccessSignature(token(), (error) => (error ? reject(error) : resolve()));
          });
          await worksInFull(client, heard, deviceId, nEvents);
        }
      });

      test('proves itself by a thumbprint or an authority', async (t) => {
        const [byThumbprint, byAuthority] = [uniqueId('cnc'), uniqueId('cnc')];
        const [mine, root] = [leaf('any name'), authority(uniqueId('root'))];
        const primaryThumbprint = sha256(mine);
        const x509Thumbprint = { primaryThumbprint, secondaryThumbprint: primaryThumbprint };
        await registry.create({ deviceId: byThumbprint, authentication: { type: 'selfSigned', x509Thumbprint } });
        await registry.create({ deviceId: byAuthority, authentication: { type: 'certificateAuthority' } });
        await uploadAuthority(uniqueId('ca'), root);
        for (const [deviceId, credentials] of [[byThumbprint, mine], [byAuthority, leaf(byAuthority, root)]]) {
          const client = await openWithCertificate(t, transport, hub, deviceId, credentials);
          await client.sendEvent(new Message('by certificate'));
          await eventsOf(hub, deviceId, 1);
        }
        const stranger = await rejectionOf(openWithCertificate(t, transport, hub, byAuthority, mine));
        assert.match(`${stranger}`, /Not authorized/);
      });

      const deeds = {
        disabled: (deviceId) => change(deviceId, { status: 'disabled' }),
        deleted: (deviceId) => registry.delete(deviceId),
        'given other keys': (deviceId) =>
          change(deviceId, { authentication: { symmetricKey: { primaryKey: newKey(), secondaryKey: newKey() } } }),
      };
      for (const [name, deed] of Object.entries(deeds)) {
        test(`is cut off when it is ${name}, and kept out`, async (t) => {
          const device = await newDevice();
          const client = await openWithKey(t, transport, hub, device.deviceId, device.primaryKey);
          const heard = await listen(client);
          await worksInFull(client, heard, device.deviceId, 1);
          // Or else it would come back again and again, because it takes CONNACK 5 for a lost connection.
          client.setRetryPolicy(new NoRetry());
          const disconnected = once(client, 'disconnect');
          await deed(device.deviceId);
          const [reason] = await disconnected;
          assert.equal(reason.transportObj?.name, 'NotConnectedError');
          assert.match(`${await rejectionOf(client.open())}`, /Not authorized/);
        });
      }

      test('comes back by itself once it is enabled again', async (t) => {
        const { deviceId, primaryKey } = await newDevice();
        const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
        const heard = await listen(client);
        const often = new ExponentialBackOffWithJitter();
        often.normalParameters.cMax = 500;
        client.setRetryPolicy(often);
        await change(deviceId, { status: 'disabled' });
        await eventually(async () => (await stateOf(deviceId)) === 'Disconnected', 'disconnected');
        const back = once(client, 'connect');
        await change(deviceId, { status: 'enabled' });
        await back;
        await worksInFull(client, heard, deviceId, 1);
      });

      test('is told that a wrong key opens nothing', async (t) => {
        const { deviceId } = await newDevice();
        assert.match(`${await rejectionOf(openWithKey(t, transport, hub, deviceId, newKey()))}`, /Not authorized/);
        assert.match(`${await rejectionOf(openWithKey(t, transport, hub, uniqueId('stranger'), newKey()))}`, /Not authorized/);
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
});

/** A token that a device makes of its own key. */
function tokenOf(deviceId, key) {
  const resource = encodeURIComponent(`${hub.host}/devices/${deviceId}`);
  return SharedAccessSignature.create(resource, undefined, key, Math.trunc(Date.now() / 1000) + 600).toString();
}

async function refusedOffline(deviceId) {
  const error = await rejectionOf(invoke(deviceId));
  assert.equal(error.response.statusCode, 404);
  assert.equal(error.response.headers['iothub-errorcode'], 'DeviceNotOnline');
  assert.equal(JSON.parse(JSON.parse(error.responseBody).Message).errorCode, 404103);
}
