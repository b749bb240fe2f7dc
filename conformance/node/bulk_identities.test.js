'use strict';
// Bulk operations on device identities through `azure-iothub`, which writes its modes with a
// capital and an identity's etag as a read gives it: `etag`, not `eTag`.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { registryOf, uniqueId } = require('./support/world');
const { refusedByHub, rejectionOf } = require('./support/refusals');

const registry = registryOf('hub-1');
const SUCCESS = { isSuccessful: true, errors: [], warnings: [] };

function some(count, more = {}) {
  return Array.from({ length: count }, () => ({ deviceId: uniqueId('bulk'), ...more }));
}

async function added(count, more) {
  const devices = some(count, more);
  assert.deepEqual((await registry.addDevices(devices)).responseBody, SUCCESS);
  return read(devices);
}

async function read(devices) {
  return Promise.all(devices.map(async ({ deviceId }) => (await registry.get(deviceId)).responseBody));
}

/** A 400 that still tells the verdict on each device; `failed` maps device ids to codes. */
async function failsFor(failed, operation) {
  const error = await rejectionOf(operation);
  assert.equal(error.name, 'ArgumentError', error.responseBody);
  assert.equal(error.response.statusCode, 400);
  assert.equal(error.response.headers['iothub-errorcode'], 'BulkRegistryOperationFailure');
  assert.equal(error.response.headers.iothuberrorcode, 'BulkRegistryOperationFailure');
  const { isSuccessful, errors } = JSON.parse(error.responseBody);
  assert.equal(isSuccessful, false);
  assert.deepEqual(Object.fromEntries(errors.map(({ deviceId, errorCode }) => [deviceId, errorCode])), failed);
  for (const { errorStatus } of errors) assert.ok(errorStatus);
}

describe('a bulk operation on a hub', () => {
  test('adds devices, and adds again only what is missing', async () => {
    const [first, second] = await added(2);
    const [fresh] = some(1);
    await failsFor(
      { [first.deviceId]: 'DeviceAlreadyExists', [second.deviceId]: 'DeviceAlreadyExists' },
      registry.addDevices([{ deviceId: first.deviceId }, fresh, { deviceId: second.deviceId }]),
    );
    assert.equal((await read([fresh])).length, 1);
    assert.deepEqual((await read([first]))[0].authentication, first.authentication);
  });

  test('adds devices with their twins', async () => {
    const [device] = some(1, { tags: { line: 'north' }, properties: { desired: { interval: 60 } } });
    assert.deepEqual((await registry.addDevices([device])).responseBody, SUCCESS);
    const { tags, properties } = (await registry.getTwin(device.deviceId)).responseBody;
    assert.deepEqual(tags, { line: 'north' });
    assert.equal(properties.desired.interval, 60);
  });

  test('updates by force, whatever the etag', async () => {
    const devices = await added(2);
    const changed = devices.map((device) => ({ ...device, etag: 'c3RhbGU=', status: 'disabled' }));
    assert.deepEqual((await registry.updateDevices(changed, true)).responseBody, SUCCESS);
    for (const { status } of await read(devices)) assert.equal(status, 'disabled');
  });

  test('updates by etag, and refuses a stale one alone', async () => {
    const devices = await added(2);
    await registry.update({ ...devices[1], statusReason: 'moved on' });
    const changed = devices.map((device) => ({ ...device, status: 'disabled' }));
    await failsFor({ [devices[1].deviceId]: 'PreconditionFailed' }, registry.updateDevices(changed, false));
    assert.deepEqual((await read(devices)).map(({ status }) => status), ['disabled', 'enabled']);
  });

  test('removes by force and by etag, and refuses a stale one alone', async () => {
    const devices = await added(3);
    assert.deepEqual((await registry.removeDevices([{ deviceId: devices[0].deviceId }], true)).responseBody, SUCCESS);
    await registry.update({ ...devices[2], statusReason: 'moved on' });
    await failsFor({ [devices[2].deviceId]: 'PreconditionFailed' }, registry.removeDevices(devices.slice(1), false));
    for (const { deviceId } of devices.slice(0, 2)) {
      await refusedByHub(registry.get(deviceId), { as: 'DeviceNotFoundError', status: 404, code: 'DeviceNotFound' });
    }
    assert.equal((await read(devices.slice(2)))[0].statusReason, 'moved on');
  });

  test('tells which devices are missing', async () => {
    const [missing] = some(1);
    const expected = { [missing.deviceId]: 'DeviceNotFound' };
    await failsFor(expected, registry.updateDevices([missing], true));
    await failsFor(expected, registry.removeDevices([missing], true));
  });

  test('takes a hundred devices', async () => {
    const devices = some(100);
    assert.deepEqual((await registry.addDevices(devices)).responseBody, SUCCESS);
    assert.deepEqual((await registry.removeDevices(devices, true)).responseBody, SUCCESS);
  });

  test('is refused when it names a device twice', async () => {
    const [device] = some(1);
    const error = await rejectionOf(registry.addDevices([device, device]));
    assert.equal(error.response.statusCode, 400);
    assert.match(error.responseBody, /DeviceDefinedMultipleTimes/);
  });
});
