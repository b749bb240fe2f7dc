'use strict';
// Module identities and their twins through `azure-iothub`.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { Registry } = require('azure-iothub');
const { world, registryOf, uniqueId, newKey } = require('./support/world');
const { rejectionOf, refusedByHub } = require('./support/refusals');

const registry = registryOf('hub-1');
const NEVER = /^0001-01-01T00:00:00Z?$/;
const DEVICE_NOT_FOUND = { as: 'DeviceNotFoundError', status: 404, code: 'DeviceNotFound' };
const STALE = { as: 'InvalidEtagError', status: 412, code: 'PreconditionFailed' };
const UNAUTHORIZED = { as: 'UnauthorizedError', status: 401, code: 'IotHubUnauthorizedAccess' };

async function newDevice() {
  const deviceId = uniqueId('host');
  await registry.create({ deviceId });
  return deviceId;
}

async function newModule(deviceId, moduleId = uniqueId('m')) {
  return (await registry.addModule({ deviceId, moduleId })).responseBody;
}

async function modulesOf(deviceId) {
  return (await registry.getModulesOnDevice(deviceId)).responseBody.map(({ moduleId }) => moduleId).sort();
}

/** Deletes a module by its etag: given a module, this client calls back and has no promise. */
function removeByEtag(module) {
  return new Promise((resolve, reject) => {
    registry.removeModule(module, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

/** The client makes a plain `Error` of a 404 that is no device's, and knows every taken id as one class. */
async function refusedForModule(answer, { as, status, code }) {
  const error = await rejectionOf(answer);
  const told = `${error.name}: ${error.message} ${error.responseBody}`;
  assert.equal(error.name, as, told);
  assert.equal(error.response?.statusCode, status, told);
  assert.equal(error.response.headers['iothub-errorcode'], code, told);
}

const MODULE_NOT_FOUND = { as: 'Error', status: 404, code: 'ModuleNotFound' };
const MODULE_EXISTS = { as: 'DeviceAlreadyExistsError', status: 409, code: 'ModuleAlreadyExistsOnDevice' };

describe('a module identity', () => {
  test('is created with keys of the hub and never seen, and has no status of its own', async () => {
    const deviceId = await newDevice();
    const { responseBody: created, httpResponse } = await registry.addModule({ deviceId, moduleId: 'eye', managedBy: 'the line' });
    assert.equal(httpResponse.statusCode, 200);
    assert.deepEqual([created.deviceId, created.moduleId, created.managedBy], [deviceId, 'eye', 'the line']);
    assert.equal(created.connectionState, 'Disconnected');
    assert.equal(created.cloudToDeviceMessageCount, 0);
    assert.match(created.generationId, /^\d+$/);
    for (const time of ['connectionStateUpdatedTime', 'lastActivityTime']) assert.match(created[time], NEVER, time);
    for (const absent of ['status', 'statusReason', 'capabilities']) assert.ok(!(absent in created), absent);
    assert.equal(created.authentication.type, 'sas');
    const { primaryKey, secondaryKey } = created.authentication.symmetricKey;
    for (const key of [primaryKey, secondaryKey]) assert.equal(Buffer.from(key, 'base64').length, 32);
    const { responseBody: read } = await registry.getModule(deviceId, 'eye');
    assert.deepEqual([read.etag, read.generationId, read.authentication], [created.etag, created.generationId, created.authentication]);
  });

  test('keeps its keys or its thumbprints, and may rest on a certificate authority', async () => {
    const deviceId = await newDevice();
    const symmetricKey = { primaryKey: newKey(16), secondaryKey: newKey(64) };
    const x509Thumbprint = { primaryThumbprint: 'Aa'.repeat(20), secondaryThumbprint: 'bB'.repeat(32) };
    for (const [moduleId, authentication, type] of [
      ['keys', { symmetricKey }, 'sas'],
      ['x509', { x509Thumbprint }, 'selfSigned'],
      ['ca', { type: 'certificateAuthority' }, 'certificateAuthority'],
    ]) {
      await registry.addModule({ deviceId, moduleId, authentication });
      const { authentication: kept } = (await registry.getModule(deviceId, moduleId)).responseBody;
      assert.equal(kept.type, type);
      for (const [name, value] of Object.entries(authentication)) assert.deepEqual(kept[name], value);
    }
  });

  test('is listed with its device and nowhere else', async () => {
    const [deviceId, other] = [await newDevice(), await newDevice()];
    assert.deepEqual(await modulesOf(deviceId), []);
    for (const moduleId of ['a', 'b', 'c']) await newModule(deviceId, moduleId);
    await newModule(other, 'a');
    assert.deepEqual(await modulesOf(deviceId), ['a', 'b', 'c']);
    const { responseBody: devices } = await registry.list();
    assert.ok(devices.every((device) => !device.deviceId.includes('/') && !('moduleId' in device)));
    const found = await registry.createQuery(`SELECT deviceId FROM devices WHERE deviceId = '${deviceId}'`).next();
    assert.deepEqual(found.result, [{ deviceId }]);
  });

  test('may have every character a device may have', async () => {
    const deviceId = uniqueId("a.+%_#*?!(),:=@$'");
    await registry.create({ deviceId });
    const moduleId = "m.+%_#*?!(),:=@$'";
    await newModule(deviceId, moduleId);
    assert.equal((await registry.getModule(deviceId, moduleId)).responseBody.moduleId, moduleId);
    assert.equal((await registry.getModuleTwin(deviceId, moduleId)).responseBody.moduleId, moduleId);
    assert.deepEqual(await modulesOf(deviceId), [moduleId]);
  });

  test('is updated by its etag or by force, and by no stale one', async () => {
    const created = await newModule(await newDevice());
    const { responseBody: updated } = await registry.updateModule({ ...created, managedBy: 'somebody' });
    assert.equal(updated.managedBy, 'somebody');
    assert.notEqual(updated.etag, created.etag);
    assert.equal(updated.generationId, created.generationId);
    assert.deepEqual(updated.authentication, created.authentication);
    await refusedByHub(registry.updateModule(created), STALE);
    assert.equal((await registry.updateModule({ ...created, managedBy: 'by force' }, true)).responseBody.managedBy, 'by force');
  });

  test('is deleted by its etag, by its name, or with its device', async () => {
    const deviceId = await newDevice();
    const [first] = [await newModule(deviceId, 'first'), await newModule(deviceId, 'second'), await newModule(deviceId, 'third')];
    await refusedByHub(removeByEtag({ ...first, etag: 'AAAA' }), STALE);
    await removeByEtag(first);
    await registry.removeModule(deviceId, 'second');
    assert.deepEqual(await modulesOf(deviceId), ['third']);
    for (const gone of ['first', 'second']) await refusedForModule(registry.getModule(deviceId, gone), MODULE_NOT_FOUND);
    await registry.delete(deviceId);
    await registry.create({ deviceId });
    assert.deepEqual(await modulesOf(deviceId), []);
  });
});

describe('a module identity is refused', () => {
  test('when there is one of that name, or is none', async () => {
    const deviceId = await newDevice();
    await newModule(deviceId, 'eye');
    await refusedForModule(registry.addModule({ deviceId, moduleId: 'eye' }), MODULE_EXISTS);
    await refusedForModule(registry.getModule(deviceId, 'ear'), MODULE_NOT_FOUND);
    await refusedForModule(registry.removeModule(deviceId, 'ear'), MODULE_NOT_FOUND);
    await refusedForModule(registry.updateModule({ deviceId, moduleId: 'ear' }, true), MODULE_NOT_FOUND);
    await refusedForModule(registry.getModule(deviceId, 'EYE'), MODULE_NOT_FOUND);
  });

  test('when there is no such device', async () => {
    const deviceId = uniqueId('nobody');
    await refusedByHub(registry.addModule({ deviceId, moduleId: 'eye' }), DEVICE_NOT_FOUND);
    await refusedByHub(registry.getModulesOnDevice(deviceId), DEVICE_NOT_FOUND);
  });

  test("when it is named like one of the vendor's own, or like none", async () => {
    const deviceId = await newDevice();
    const bad = { as: 'ArgumentError', status: 400, code: 'ArgumentInvalid' };
    for (const moduleId of ['$edgeAgent', '$', 'a b', 'x'.repeat(129)]) {
      await refusedByHub(registry.addModule({ deviceId, moduleId }), bad);
    }
    assert.deepEqual(await modulesOf(deviceId), []);
  });

  test('to who may not write, and its twin to who may not serve', async () => {
    const { policies } = world.hubs['hub-1'];
    const by = (policy) => Registry.fromConnectionString(policies[policy]);
    const deviceId = await newDevice();
    await newModule(deviceId, 'eye');
    assert.equal((await by('registryRead').getModule(deviceId, 'eye')).responseBody.moduleId, 'eye');
    await refusedByHub(by('registryRead').addModule({ deviceId, moduleId: 'ear' }), UNAUTHORIZED);
    await refusedByHub(by('registryRead').removeModule(deviceId, 'eye'), UNAUTHORIZED);
    await refusedByHub(by('registryReadWrite').getModuleTwin(deviceId, 'eye'), UNAUTHORIZED);
    await refusedByHub(by('service').getModulesOnDevice(deviceId), UNAUTHORIZED);
    await refusedByHub(by('device').getModule(deviceId, 'eye'), UNAUTHORIZED);
    assert.deepEqual(await modulesOf(deviceId), ['eye']);
  });
});

describe("a module's twin", () => {
  test('is its own, beside that of its device', async () => {
    const deviceId = await newDevice();
    const { etag } = await newModule(deviceId, 'eye');
    const { responseBody: twin } = await registry.getModuleTwin(deviceId, 'eye');
    assert.deepEqual([twin.deviceId, twin.moduleId, twin.deviceEtag, twin.version], [deviceId, 'eye', etag, 2]);
    assert.ok(!('capabilities' in twin));
    assert.equal(twin.properties.desired.$version, 1);
    const patch = { tags: { place: { floor: 2 } }, properties: { desired: { rate: 5 } } };
    const { responseBody: patched } = await registry.updateModuleTwin(deviceId, 'eye', patch, twin.etag);
    assert.deepEqual([patched.tags, patched.properties.desired.rate, patched.properties.desired.$version], [patch.tags, 5, 2]);
    await refusedByHub(registry.updateModuleTwin(deviceId, 'eye', patch, twin.etag), STALE);
    const { responseBody: ofDevice } = await registry.getTwin(deviceId);
    assert.deepEqual([ofDevice.tags, ofDevice.properties.desired.$version], [{}, 1]);
  });

  test('is not there when the module is not', async () => {
    const deviceId = await newDevice();
    // As the vendor has it: a module without a twin is called a device (H §3.1).
    await refusedByHub(registry.getModuleTwin(deviceId, 'eye'), DEVICE_NOT_FOUND);
    await refusedByHub(registry.updateModuleTwin(deviceId, 'eye', { tags: { a: 1 } }, '*'), DEVICE_NOT_FOUND);
  });
});
