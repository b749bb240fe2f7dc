'use strict';
// Device identities through `azure-iothub`.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { Registry } = require('azure-iothub');
const { world, registryOf, uniqueId, withMember, tokenFrom, newKey } = require('./support/world');
const { refusedByHub } = require('./support/refusals');

const registry = registryOf('hub-1');
const notFound = { as: 'DeviceNotFoundError', status: 404, code: 'DeviceNotFound' };
const unauthorized = { as: 'UnauthorizedError', status: 401, code: 'IotHubUnauthorizedAccess' };
const NEVER = /^0001-01-01T00:00:00Z?$/;

async function create(device) {
  const { responseBody, httpResponse } = await registry.create(device);
  assert.equal(httpResponse.statusCode, 200);
  return responseBody;
}

async function get(deviceId) {
  return (await registry.get(deviceId)).responseBody;
}

describe('a device identity', () => {
  test('is created with keys of the hub, enabled and never seen', async () => {
    const deviceId = uniqueId('keys');
    const { responseBody: created, httpResponse } = await registry.create({ deviceId });
    assert.equal(httpResponse.headers.etag, `"${created.etag}"`);
    const { symmetricKey, type, x509Thumbprint } = created.authentication;
    assert.equal(type, 'sas');
    assert.equal(Buffer.from(symmetricKey.primaryKey, 'base64').length, 32);
    assert.equal(Buffer.from(symmetricKey.secondaryKey, 'base64').length, 32);
    assert.notEqual(symmetricKey.primaryKey, symmetricKey.secondaryKey);
    assert.deepEqual(x509Thumbprint, { primaryThumbprint: null, secondaryThumbprint: null });
    assert.equal(created.status, 'enabled');
    assert.equal(created.statusReason, null);
    assert.equal(created.connectionState, 'Disconnected');
    assert.equal(created.cloudToDeviceMessageCount, 0);
    assert.match(created.generationId, /^\d+$/);
    for (const time of ['connectionStateUpdatedTime', 'statusUpdatedTime', 'lastActivityTime']) {
      assert.match(created[time], NEVER, time);
    }
    assert.deepEqual((await get(deviceId)).authentication, created.authentication);
  });

  test('keeps the keys it was given', async () => {
    const symmetricKey = { primaryKey: newKey(16), secondaryKey: newKey(64) };
    const created = await create({ deviceId: uniqueId('own'), authentication: { symmetricKey } });
    assert.equal(created.authentication.type, 'sas');
    assert.deepEqual(created.authentication.symmetricKey, symmetricKey);
  });

  test('keeps its thumbprints, of either length', async () => {
    const x509Thumbprint = { primaryThumbprint: 'Aa'.repeat(20), secondaryThumbprint: 'bB'.repeat(32) };
    const created = await create({ deviceId: uniqueId('x509'), authentication: { x509Thumbprint } });
    assert.equal(created.authentication.type, 'selfSigned');
    assert.deepEqual(created.authentication.x509Thumbprint, x509Thumbprint);
  });

  test('can rest on a certificate authority', async () => {
    const deviceId = uniqueId('ca');
    await create({ deviceId, authentication: { type: 'certificateAuthority' } });
    assert.equal((await get(deviceId)).authentication.type, 'certificateAuthority');
  });

  test('may have every character an id may have', async () => {
    const deviceId = uniqueId("a.+%_#*?!(),:=@$'");
    await create({ deviceId });
    assert.equal((await get(deviceId)).deviceId, deviceId);
    assert.equal((await registry.getTwin(deviceId)).responseBody.deviceId, deviceId);
    await registry.delete(deviceId);
    await refusedByHub(registry.get(deviceId), notFound);
  });

  test('differs from one spelled in other letter case', async () => {
    const deviceId = uniqueId('Case');
    await create({ deviceId });
    await refusedByHub(registry.get(deviceId.toUpperCase()), notFound);
  });

  test('is updated: a new etag, the same generation, and the time its status changed', async () => {
    const created = await create({ deviceId: uniqueId('update') });
    const { responseBody: updated } = await registry.update({ ...created, status: 'disabled', statusReason: 'stolen' });
    assert.equal(updated.status, 'disabled');
    assert.equal(updated.statusReason, 'stolen');
    assert.notEqual(updated.etag, created.etag);
    assert.equal(updated.generationId, created.generationId);
    assert.doesNotMatch(updated.statusUpdatedTime, NEVER);
    assert.deepEqual(updated.authentication, created.authentication);
    const { responseBody: twin } = await registry.getTwin(created.deviceId);
    assert.equal(twin.status, 'disabled');
    assert.equal(twin.deviceEtag, updated.etag);
  });

  test('is given new keys by an update without any', async () => {
    const created = await create({ deviceId: uniqueId('rekey') });
    const { responseBody: updated } = await registry.update({ deviceId: created.deviceId });
    assert.equal(Buffer.from(updated.authentication.symmetricKey.primaryKey, 'base64').length, 32);
    assert.notEqual(updated.authentication.symmetricKey.primaryKey, created.authentication.symmetricKey.primaryKey);
  });

  test('is another one when it is made again after it was deleted', async () => {
    const { deviceId, generationId } = await create({ deviceId: uniqueId('again') });
    const { httpResponse } = await registry.delete(deviceId);
    assert.equal(httpResponse.statusCode, 204);
    await refusedByHub(registry.get(deviceId), notFound);
    assert.notEqual((await create({ deviceId })).generationId, generationId);
  });

  test('is in the list of its hub and in no other', async () => {
    const { deviceId } = await create({ deviceId: uniqueId('listed') });
    const listed = async (hub) => (await registryOf(hub).list()).responseBody.map((device) => device.deviceId);
    assert.ok((await listed('hub-1')).includes(deviceId));
    assert.equal((await listed('hub-2')).includes(deviceId), false);
    await refusedByHub(registryOf('hub-2').get(deviceId), notFound);
  });

  test('has no modules', async () => {
    const { deviceId } = await create({ deviceId: uniqueId('plain') });
    assert.deepEqual((await registry.getModulesOnDevice(deviceId)).responseBody, []);
  });

  test('counts in the statistics', async () => {
    const statistics = async () => (await registry.getRegistryStatistics()).responseBody;
    const before = await statistics();
    await registry.addDevices([{ deviceId: uniqueId('on') }, { deviceId: uniqueId('off'), status: 'disabled' }]);
    assert.deepEqual(await statistics(), {
      totalDeviceCount: before.totalDeviceCount + 2,
      enabledDeviceCount: before.enabledDeviceCount + 1,
      disabledDeviceCount: before.disabledDeviceCount + 1,
    });
  });
});

describe('a device identity is refused', () => {
  const bad = (device) => refusedByHub(registry.create(device), { as: 'ArgumentError', status: 400, code: 'ArgumentInvalid' });

  test('when it exists', async () => {
    const created = await create({ deviceId: uniqueId('twice') });
    await refusedByHub(registry.create({ deviceId: created.deviceId }), {
      as: 'DeviceAlreadyExistsError', status: 409, code: 'DeviceAlreadyExists',
      message: new RegExp(`^A device with ID '${created.deviceId}' is already registered\\.`),
    });
    assert.deepEqual((await get(created.deviceId)).authentication, created.authentication);
  });

  test('when it does not exist', async () => {
    const deviceId = uniqueId('missing');
    const error = await refusedByHub(registry.get(deviceId), notFound);
    assert.equal(error.message, deviceId);
    await refusedByHub(registry.update({ deviceId }), notFound);
    await refusedByHub(registry.delete(deviceId), notFound);
    await refusedByHub(registry.get(deviceId), notFound);
  });

  test('when its id is not one', async () => {
    await bad({ deviceId: 'x'.repeat(129) });
    await bad({ deviceId: 'with space' });
    await bad({ deviceId: 'ü' });
    await bad({ deviceId: 'invalid/name' });
  });

  test('when its keys are not keys', async () => {
    const keys = (primaryKey, secondaryKey) => ({
      deviceId: uniqueId('bad-key'), authentication: { type: 'sas', symmetricKey: { primaryKey, secondaryKey } },
    });
    await bad(keys('not base64!', newKey(32)));
    await bad(keys(newKey(15), newKey(32)));
    await bad(keys(newKey(32), newKey(65)));
    await bad(keys(newKey(32), ''));
  });

  test('when its thumbprint is not one, or its kind is unknown', async () => {
    const x509Thumbprint = { primaryThumbprint: 'not hexadecimal' };
    await bad({ deviceId: uniqueId('bad-print'), authentication: { type: 'selfSigned', x509Thumbprint } });
    await bad({ deviceId: uniqueId('bad-kind'), authentication: { type: 'password' } });
  });
});

test('an operator of a hub may sign with the secondary key', async () => {
  const secondary = Registry.fromConnectionString(world.hubs['hub-1'].secondaryConnectionString);
  const deviceId = uniqueId('secondary');
  await secondary.create({ deviceId });
  assert.equal((await get(deviceId)).deviceId, deviceId);
});

describe('an operator of a hub is refused', () => {
  const stranger = (connectionString) => Registry.fromConnectionString(connectionString).get('any');
  const { connectionString, host } = world.hubs['hub-1'];

  test('with a wrong key, or the name of a policy nobody made', async () => {
    await refusedByHub(stranger(withMember(connectionString, 'SharedAccessKey', newKey(32))), unauthorized);
    await refusedByHub(stranger(withMember(connectionString, 'SharedAccessKeyName', 'nobody')), unauthorized);
  });

  test("with another hub's key, or the provisioning service's", async () => {
    for (const foreign of [world.hubs['hub-2'].connectionString, world.provisioning.connectionString]) {
      await refusedByHub(stranger(withMember(foreign, 'HostName', host)), unauthorized);
    }
  });

  test('with a token that has expired, or is for another device', async () => {
    const { deviceId } = await create({ deviceId: uniqueId('token') });
    // This client takes the host from the token, so another resource is asked for another way.
    const by = (how) => Registry.fromSharedAccessSignature(tokenFrom(connectionString, how));
    assert.equal((await by({}).get(deviceId)).responseBody.deviceId, deviceId);
    await refusedByHub(by({ lifeSecs: -3600 }).get(deviceId), unauthorized);

    const ask = (resource) => {
      const sharedAccessSignature = tokenFrom(connectionString, { resource });
      return new Registry({ host, sharedAccessSignature }).get(deviceId);
    };
    assert.equal((await ask(`${host}/devices/${deviceId}`)).responseBody.deviceId, deviceId);
    await refusedByHub(ask(`${host}/devices/${deviceId.slice(0, -1)}`), unauthorized);
    await refusedByHub(ask(world.hubs['hub-2'].host), unauthorized);
  });

  test('what the policy of its token does not allow', async () => {
    const { policies } = world.hubs['hub-1'];
    const by = (policy) => Registry.fromConnectionString(policies[policy]);
    const { deviceId } = await create({ deviceId: uniqueId('rights') });
    const other = { deviceId: uniqueId('rights') };

    assert.equal((await by('registryRead').get(deviceId)).responseBody.deviceId, deviceId);
    await refusedByHub(by('registryRead').create(other), unauthorized);
    await refusedByHub(by('registryRead').delete(deviceId), unauthorized);
    await refusedByHub(by('registryRead').getTwin(deviceId), unauthorized);

    await by('registryReadWrite').create(other);
    await refusedByHub(by('registryReadWrite').updateTwin(deviceId, { tags: { a: 1 } }, '*'), unauthorized);
    await refusedByHub(by('registryReadWrite').createQuery('SELECT * FROM devices').next(), unauthorized);

    await by('service').updateTwin(deviceId, { tags: { a: 1 } }, '*');
    await by('service').createQuery('SELECT * FROM devices').next();
    await refusedByHub(by('service').get(deviceId), unauthorized);
    await refusedByHub(by('service').addDevices([{ deviceId: uniqueId('rights') }]), unauthorized);

    await refusedByHub(by('device').get(deviceId), unauthorized);
    await refusedByHub(by('device').getTwin(deviceId), unauthorized);
    await refusedByHub(by('device').getRegistryStatistics(), unauthorized);
    assert.deepEqual((await registry.getTwin(deviceId)).responseBody.tags, { a: 1 });
  });

  test('and nothing is written', async () => {
    const unknown = Registry.fromConnectionString(withMember(connectionString, 'SharedAccessKey', newKey(32)));
    const deviceId = uniqueId('stranger');
    await refusedByHub(unknown.create({ deviceId }), unauthorized);
    await refusedByHub(unknown.updateTwin(deviceId, { tags: { a: 1 } }, '*'), unauthorized);
    await refusedByHub(unknown.list(), unauthorized);
    await refusedByHub(unknown.addDevices([{ deviceId }]), unauthorized);
    await refusedByHub(unknown.createQuery('SELECT * FROM devices').next(), unauthorized);
    await refusedByHub(registry.get(deviceId), notFound);
  });
});
