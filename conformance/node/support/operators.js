'use strict';
// What operators do to devices of one hub, through `azure-iothub`, and devices at work with them.

const assert = require('node:assert/strict');
const { Client: ServiceClient, Registry } = require('azure-iothub');
const { Message } = require('azure-iot-device');
const { uniqueId, newKey } = require('./world');
const { rejectionOf } = require('./refusals');
const { sendMessage, eventsOf } = require('./rest');
const { patchOf, report } = require('./connected');

/** `hub` is a place of `world`. */
function operatorsOf(hub) {
  const registry = Registry.fromConnectionString(hub.connectionString);
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

  /** What ends a device's right to be connected. */
  const deeds = {
    disabled: (deviceId) => change(deviceId, { status: 'disabled' }),
    deleted: (deviceId) => registry.delete(deviceId),
    'given other keys': (deviceId) =>
      change(deviceId, { authentication: { symmetricKey: { primaryKey: newKey(), secondaryKey: newKey() } } }),
  };

  /** Sets desired properties; says which version they have then. */
  async function desire(deviceId, desired) {
    const { responseBody } = await registry.updateTwin(deviceId, { properties: { desired } }, '*');
    return responseBody.properties.desired.$version;
  }

  async function invoke(deviceId, payload = { in: [1, null] }) {
    const method = { methodName: 'reboot', payload, responseTimeoutInSeconds: 10 };
    return (await service.invokeDeviceMethod(deviceId, method)).result;
  }

  /** The device takes no methods, because it is not connected. */
  async function refusedOffline(deviceId) {
    const error = await rejectionOf(invoke(deviceId));
    assert.equal(error.response.statusCode, 404);
    assert.equal(error.response.headers['iothub-errorcode'], 'DeviceNotOnline');
    assert.equal(JSON.parse(JSON.parse(error.responseBody).Message).errorCode, 404103);
  }

  async function stateOf(deviceId) {
    return (await registry.getTwin(deviceId)).responseBody.connectionState;
  }

  /** How many messages wait for the device. */
  async function nWaiting(deviceId) {
    return (await registry.get(deviceId)).responseBody.cloudToDeviceMessageCount;
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
  }

  return { hub, registry, newDevice, change, deeds, desire, invoke, refusedOffline, stateOf, nWaiting, worksInFull };
}

module.exports = { operatorsOf };
