'use strict';
// Devices with a TPM, through `azure-iot-security-tpm` on a software TPM: challenged by the
// provisioning service, given their hub's key, and at their hub with tokens signed inside the TPM.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { createHmac } = require('node:crypto');
const { Message } = require('azure-iot-device');
const { provisioningService, world, hostOf, uniqueId } = require('./support/world');
const { listen } = require('./support/connected');
const { operatorsOf } = require('./support/operators');
const { rejectionOf, refusedByHub } = require('./support/refusals');
const { eventsOf } = require('./support/rest');
const { PROVISIONED_OVER, SoftwareTpm, ask, keysOf, register, openWithTpm } = require('./support/tpm');

const service = provisioningService();
const [one, two] = ['hub-1', 'hub-2'].map((name) => operatorsOf(world.hubs[name]));

async function enroll(registrationId, tpm, more = {}) {
  const attestation = { type: 'tpm', tpm };
  const enrollment = { registrationId, attestation, allocationPolicy: 'static', iotHubs: [hostOf('hub-1')], ...more };
  return (await service.createOrUpdateIndividualEnrollment(enrollment)).responseBody;
}

/** A new TPM whose device is enrolled. */
async function enrolled(t, more, id = uniqueId('press')) {
  const tpm = await SoftwareTpm.start(t);
  const security = tpm.securityClient(id);
  const enrollment = await enroll(id, await keysOf(security), more);
  return { tpm, id, security, enrollment };
}

/** The TPM's key is the one its hub has for it. */
async function holdsItsHubsKey({ registry }, deviceId, security) {
  const { authentication } = (await registry.get(deviceId)).responseBody;
  assert.equal(authentication.type, 'sas');
  const key = Buffer.from(authentication.symmetricKey.primaryKey, 'base64');
  const text = Buffer.from(uniqueId('text'));
  assert.deepEqual(await ask(security, 'signWithIdentity', text), createHmac('sha256', key).update(text).digest());
}

/** Connects by a token the TPM signs, and sends the device's n-th event. */
async function reportsIn(t, transport, { registrationState }, security, nEvents) {
  const client = await openWithTpm(t, transport, registrationState, security);
  await client.sendEvent(new Message(`event ${nEvents}`));
  const { hub } = [one, two].find(({ hub }) => hub.host === registrationState.assignedHub);
  await eventsOf(hub, registrationState.deviceId, nEvents);
  await client.close();
}

describe('a device with a TPM', { concurrency: 4 }, () => {
  const paths = [['Http', 'Mqtt'], ['Http', 'MqttWs'], ['Amqp', 'Amqp'], ['AmqpWs', 'AmqpWs']];
  for (const [transport, atHub] of paths) {
    test(`is provisioned over ${transport} by the name its endorsement key gives it, and works over ${atHub}`, async (t) => {
      const tpm = await SoftwareTpm.start(t);
      const security = tpm.securityClient();
      const id = await ask(security, 'getRegistrationId');
      await enroll(id, await keysOf(security), { initialTwin: { tags: { line: 4 } } });
      const { registrationState } = await register(t, security, { transport });
      assert.equal(registrationState.status, 'assigned');
      assert.equal(registrationState.registrationId, id);
      assert.equal(registrationState.deviceId, id);
      assert.equal(registrationState.assignedHub, one.hub.host);
      await holdsItsHubsKey(one, id, security);
      assert.deepEqual((await one.registry.getTwin(id)).responseBody.tags, { line: 4 });
      const client = await openWithTpm(t, atHub, registrationState, security);
      await one.worksInFull(client, await listen(client), id, 1);
    });
  }

  for (const transport of Object.keys(PROVISIONED_OVER)) {
    test(`registers again over ${transport}, and takes the place it had`, async (t) => {
      const deviceId = uniqueId('edge');
      const { security } = await enrolled(t, { deviceId });
      const first = (await register(t, security, { transport })).registrationState;
      const again = await register(t, security, { transport });
      assert.equal(again.registrationState.deviceId, deviceId);
      assert.equal(again.registrationState.assignedHub, first.assignedHub);
      assert.equal(again.registrationState.createdDateTimeUtc, first.createdDateTimeUtc);
      await holdsItsHubsKey(one, deviceId, security);
      await reportsIn(t, 'Mqtt', again, security, 1);
    });
  }

  test('may have the longest name there is, and one that grows when it is encoded', async (t) => {
    const longest = `${uniqueId('a')}${':a'.repeat(64)}`.slice(0, 127) + 'z';
    const { security } = await enrolled(t, {}, longest);
    const assigned = await register(t, security, { transport: 'Amqp' });
    await reportsIn(t, 'AmqpWs', assigned, security, 1);
  });

  test('signs for its hub when its power was cut, without registering again', async (t) => {
    const { tpm, id, security } = await enrolled(t);
    const assigned = await register(t, security);
    await reportsIn(t, 'Amqp', assigned, security, 1);
    await tpm.cutPower();
    const restarted = tpm.securityClient(id);
    await reportsIn(t, 'Amqp', assigned, restarted, 2);
    await holdsItsHubsKey(one, id, restarted);
  });

  test('is known by its endorsement key when its owner cleared it', async (t) => {
    const { tpm, id, security } = await enrolled(t);
    await register(t, security, { transport: 'Amqp' });
    const before = await keysOf(security);
    await tpm.clear();
    const cleared = tpm.securityClient(id);
    const after = await keysOf(cleared);
    assert.equal(after.endorsementKey, before.endorsementKey);
    assert.notEqual(after.storageRootKey, before.storageRootKey);
    const assigned = await register(t, cleared, { transport: 'Amqp' });
    await reportsIn(t, 'Mqtt', assigned, cleared, 1);
  });

  test('is moved to another hub, and signs for that one', async (t) => {
    const { id, security, enrollment } = await enrolled(t);
    await reportsIn(t, 'Mqtt', await register(t, security), security, 1);
    const reprovisionPolicy = { updateHubAssignment: true, migrateDeviceData: true };
    await service.createOrUpdateIndividualEnrollment({ ...enrollment, iotHubs: [two.hub.host], reprovisionPolicy });
    const moved = await register(t, security);
    assert.equal(moved.registrationState.assignedHub, two.hub.host);
    await holdsItsHubsKey(two, id, security);
    await reportsIn(t, 'Mqtt', moved, security, 1);
    await refusedByHub(one.registry.get(id), { as: 'DeviceNotFoundError', status: 404, code: 'DeviceNotFound' });
  });

  test('leaves a record that operators read, without its key', async (t) => {
    const { id, security } = await enrolled(t);
    const { registrationState } = await register(t, security);
    const record = (await service.getDeviceRegistrationState(id)).responseBody;
    assert.equal(record.status, 'assigned');
    assert.equal(record.etag, registrationState.etag);
    assert.ok(registrationState.tpm.authenticationKey);
    assert.ok(!JSON.stringify(record).includes('authenticationKey'));
  });
});

/**
 * The service said no. Over HTTPS the client tells only that this was no challenge; over AMQP it
 * hands on the outcome: a condition, and the service's words.
 */
async function isRefused(transport, registration, errorCode) {
  const error = await rejectionOf(registration);
  if (transport === 'Http') {
    assert.equal(error.name, 'InvalidOperationError', `${error}`);
    assert.match(error.message, /did NOT respond with an unauthorized error/);
    return;
  }
  assert.ok(Array.isArray(error.value), `${error}`);
  const [condition, description] = error.value.map(({ value }) => value);
  assert.equal(condition, 'amqp:not-found');
  const told = JSON.parse(description);
  assert.equal(told.errorCode, errorCode);
  assert.ok(told.trackingId);
  assert.ok(told.message);
}

describe('a device with a TPM is refused', { concurrency: 4 }, () => {
  for (const transport of Object.keys(PROVISIONED_OVER)) {
    test(`over ${transport} when nobody enrolled it`, async (t) => {
      const security = (await SoftwareTpm.start(t)).securityClient(uniqueId('stranger'));
      await isRefused(transport, register(t, security, { transport }), 404201);
    });

    test(`over ${transport} with the name of another`, async (t) => {
      const { id, security } = await enrolled(t);
      const other = (await SoftwareTpm.start(t)).securityClient(id);
      await isRefused(transport, register(t, other, { transport }), 404201);
      await rejectionOf(service.getDeviceRegistrationState(id));
      await register(t, security, { transport });
    });

    test(`over ${transport} in an ID scope that is not ours`, async (t) => {
      const { security } = await enrolled(t);
      await isRefused(transport, register(t, security, { transport, idScope: '0neFFFFFFFF' }), 404000);
    });

    test(`over ${transport} as disabled when its enrollment is, and admitted when it is enabled again`, async (t) => {
      const { id, security, enrollment } = await enrolled(t, { provisioningStatus: 'disabled' });
      const error = await rejectionOf(register(t, security, { transport }));
      assert.equal(error.message, 'status is disabled');
      const { status, assignedHub, tpm } = error.result.registrationState;
      assert.deepEqual({ status, assignedHub, tpm }, { status: 'disabled', assignedHub: undefined, tpm: undefined });
      await service.createOrUpdateIndividualEnrollment({ ...enrollment, provisioningStatus: 'enabled' });
      await reportsIn(t, 'Mqtt', await register(t, security, { transport }), security, 1);
      await holdsItsHubsKey(one, id, security);
    });
  }
});
