'use strict';
// A server ends and comes back while devices are connected through `azure-iot-device`.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { Client: ServiceClient, Registry } = require('azure-iothub');
const { Message } = require('azure-iot-device');
const { world, uniqueId, newKey } = require('./support/world');
const { control } = require('./support/control');
const { sendMessage, eventsOf } = require('./support/rest');
const { eventually } = require('./support/waiting');
const { TRANSPORTS, openWithKey, listen, patchOf, report } = require('./support/connected');

const hub = world.restarted.hubs['hub-3'];
const registry = Registry.fromConnectionString(hub.connectionString);
const service = ServiceClient.fromConnectionString(hub.connectionString);

async function connected(t, transport) {
  const deviceId = uniqueId('node');
  const primaryKey = newKey();
  await registry.create({ deviceId, authentication: { symmetricKey: { primaryKey, secondaryKey: newKey() } } });
  const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
  return { deviceId, client, heard: await listen(client) };
}

/** Everything a device can do, on a client that listens already: nothing is subscribed here. */
async function worksInFull({ deviceId, client, heard }, nEvents) {
  await client.sendEvent(new Message(`${nEvents}`));
  await eventsOf(hub, deviceId, nEvents);
  await report(heard.twin, { nEvents });
  assert.equal((await client.getTwin()).properties.reported.nEvents, nEvents);
  const method = { methodName: 'reboot', payload: nEvents, responseTimeoutInSeconds: 10 };
  const { result } = await service.invokeDeviceMethod(deviceId, method);
  assert.deepEqual(result, { status: 207, payload: { method: 'reboot', got: nEvents } });
  await sendMessage(hub, deviceId, { messageId: `m${nEvents}`, bodyText: 'hello' });
  assert.equal((await heard.messages.next('a message')).messageId, `m${nEvents}`);
  const { responseBody } = await registry.updateTwin(deviceId, { properties: { desired: { nEvents } } }, '*');
  const { $version } = responseBody.properties.desired;
  assert.deepEqual(await patchOf(heard, $version), { nEvents, $version });
}

test('devices come back after a restart of the server and hear everything', async (t) => {
  const devices = await Promise.all(Object.keys(TRANSPORTS).map((transport) => connected(t, transport)));
  await Promise.all(devices.map((device) => worksInFull(device, 1)));
  const back = devices.map(({ client }) => new Promise((resolve) => client.once('connect', resolve)));
  await control('stop');
  await control('start');
  await Promise.all(back);
  for (const { deviceId } of devices) {
    await eventually(async () => (await registry.getTwin(deviceId)).responseBody.connectionState === 'Connected', 'connected');
  }
  await Promise.all(devices.map((device) => worksInFull(device, 2)));
});
