'use strict';
// Devices with symmetric keys, through `azure-iot-provisioning-device` over HTTPS.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { world, provisioningService, hostOf, uniqueId, newKey } = require('./support/world');
const { refusedByProvisioning, deviceRefused, registrationEndsAs } = require('./support/refusals');
const { registerWithKey, derivedKey } = require('./support/devices');

const service = provisioningService();
const unauthorized = { as: 'UnauthorizedError', status: 401, code: 401002 };

async function put(enrollment) {
  const write = enrollment.registrationId ? 'createOrUpdateIndividualEnrollment' : 'createOrUpdateEnrollmentGroup';
  return (await service[write](enrollment)).responseBody;
}

/** An enrollment with generated keys: its id, and the two keys. */
async function individual(more = {}) {
  const created = await put({ registrationId: uniqueId('press'), attestation: { type: 'symmetricKey' }, ...more });
  return { id: created.registrationId, created, ...created.attestation.symmetricKey };
}

/** A group with generated keys: its id, and the two master keys. */
async function group(more = {}) {
  const created = await put({ enrollmentGroupId: uniqueId('line'), attestation: { type: 'symmetricKey' }, ...more });
  return { id: created.enrollmentGroupId, created, ...created.attestation.symmetricKey };
}

function isAssigned(answer, registrationId, deviceId = registrationId) {
  assert.equal(answer.status, 'assigned');
  assert.equal(answer.substatus, 'initialAssignment');
  assert.equal(answer.registrationId, registrationId);
  assert.equal(answer.deviceId, deviceId);
  assert.ok(Object.values(world.hubs).some(({ host }) => host === answer.assignedHub), answer.assignedHub);
  assert.match(answer.createdDateTimeUtc, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  assert.match(answer.lastUpdatedDateTimeUtc, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  assert.match(Buffer.from(answer.etag, 'base64').toString(), /^".+"$/);
  assert.equal(Object.values(answer).includes(null), false, 'members without a value are left out');
}

describe('a device with a symmetric key is provisioned', { concurrency: 8 }, () => {
  test('with the primary key of its own enrollment', async () => {
    const { id, primaryKey } = await individual();
    isAssigned(await registerWithKey(id, primaryKey), id);
  });

  test('with the secondary key of its own enrollment', async () => {
    const { id, secondaryKey } = await individual();
    isAssigned(await registerWithKey(id, secondaryKey), id);
  });

  test('under the device id its enrollment names', async () => {
    const deviceId = uniqueId('on-hub');
    const { id, primaryKey } = await individual({ deviceId });
    isAssigned(await registerWithKey(id, primaryKey), id, deviceId);
  });

  test("with keys derived from either of its group's", async () => {
    const { primaryKey, secondaryKey } = await group();
    const [first, second] = [uniqueId('sn'), uniqueId('SN')];
    isAssigned(await registerWithKey(first, derivedKey(primaryKey, first)), first);
    isAssigned(await registerWithKey(second, derivedKey(secondaryKey, second)), second);
  });

  test('with characters in its id that its client leaves unescaped', async () => {
    const { primaryKey } = await group();
    const id = uniqueId('a:b.c_d');
    isAssigned(await registerWithKey(id, derivedKey(primaryKey, id)), id);
  });

  test('again, to the same hub and with the same answer', async () => {
    const { id, primaryKey, secondaryKey } = await individual();
    const first = await registerWithKey(id, primaryKey);
    const again = await registerWithKey(id, secondaryKey);
    isAssigned(again, id);
    assert.equal(again.assignedHub, first.assignedHub);
    assert.equal(again.createdDateTimeUtc, first.createdDateTimeUtc);
  });

  test('whatever it says about itself', async () => {
    const { id, primaryKey } = await individual();
    isAssigned(await registerWithKey(id, primaryKey, { payload: { model: 'x', list: [1, null, 'three'] } }), id);
  });

  test('to the hub its enrollment names', async () => {
    const [one, two] = [hostOf('hub-1'), hostOf('hub-2')];
    for (const hub of [one, two]) {
      const { id, primaryKey } = await individual({ allocationPolicy: 'static', iotHubs: [hub] });
      assert.equal((await registerWithKey(id, primaryKey)).assignedHub, hub);
    }
  });
});

describe('a device with a symmetric key is refused', { concurrency: 8 }, () => {
  test('with a wrong key', async () => {
    const { id } = await individual();
    await deviceRefused(registerWithKey(id, newKey()), unauthorized);
    await refusedByProvisioning(service.getDeviceRegistrationState(id), { as: 'Error', status: 404, code: 404203 });
  });

  test('with the key of another device', async () => {
    const [one, other] = [await individual(), await individual()];
    await deviceRefused(registerWithKey(one.id, other.primaryKey), unauthorized);
  });

  test("with its group's master key", async () => {
    const { primaryKey } = await group();
    await deviceRefused(registerWithKey(uniqueId('greedy'), primaryKey), unauthorized);
  });

  test("with a key derived for another device of its group", async () => {
    const { primaryKey } = await group();
    await deviceRefused(registerWithKey(uniqueId('thief'), derivedKey(primaryKey, uniqueId('victim'))), unauthorized);
  });

  test('when nobody enrolled it', async () => {
    await deviceRefused(registerWithKey(uniqueId('stranger'), newKey()), unauthorized);
  });

  test('in an ID scope that is not ours', async () => {
    const { id, primaryKey } = await individual();
    await deviceRefused(registerWithKey(id, primaryKey, { idScope: '0neFFFFFFFF' }), { as: 'Error', status: 404, code: 404000 });
  });

  test('as disabled when its enrollment is, and admitted when it is enabled again', async () => {
    const { id, primaryKey, created } = await individual({ provisioningStatus: 'disabled' });
    const state = await registrationEndsAs('disabled', registerWithKey(id, primaryKey));
    assert.equal(state.registrationId, id);
    await deviceRefused(registerWithKey(id, newKey()), unauthorized);
    await put({ ...created, provisioningStatus: 'enabled' });
    isAssigned(await registerWithKey(id, primaryKey), id);
  });

  test('as disabled when its group is', async () => {
    const { primaryKey, created } = await group();
    const id = uniqueId('member');
    const key = derivedKey(primaryKey, id);
    isAssigned(await registerWithKey(id, key), id);
    await put({ ...created, provisioningStatus: 'disabled' });
    await registrationEndsAs('disabled', registerWithKey(id, key));
    // The key of another device proves nothing, and is told nothing.
    await deviceRefused(registerWithKey(uniqueId('other'), key), unauthorized);
  });

  test('once its enrollment is deleted', async () => {
    const { id, primaryKey } = await individual();
    isAssigned(await registerWithKey(id, primaryKey), id);
    await service.deleteIndividualEnrollment(id);
    await deviceRefused(registerWithKey(id, primaryKey), unauthorized);
  });

  test('once its group is deleted', async () => {
    const { id: groupId, primaryKey } = await group();
    const id = uniqueId('member');
    isAssigned(await registerWithKey(id, derivedKey(primaryKey, id)), id);
    await service.deleteEnrollmentGroup(groupId);
    await deviceRefused(registerWithKey(id, derivedKey(primaryKey, id)), unauthorized);
  });

  test('when one of a group is excluded by a disabled enrollment of its own, until that is deleted', async () => {
    const { primaryKey } = await group();
    const [id, other] = [uniqueId('excluded'), uniqueId('neighbour')];
    const key = derivedKey(primaryKey, id);
    await individual({ registrationId: id, provisioningStatus: 'disabled' });
    await deviceRefused(registerWithKey(id, key), unauthorized);
    isAssigned(await registerWithKey(other, derivedKey(primaryKey, other)), other);
    await service.deleteIndividualEnrollment(id);
    isAssigned(await registerWithKey(id, key), id);
  });

  test('when no hub may take it', async () => {
    const { id, primaryKey } = await individual({ allocationPolicy: 'static', iotHubs: ['nowhere.induct.test'] });
    const state = await registrationEndsAs('failed', registerWithKey(id, primaryKey));
    assert.equal(state.errorCode, 400208);
    assert.ok(state.errorMessage);
  });

  test('when a webhook is to choose its hub', async () => {
    const customAllocationDefinition = { webhookUrl: 'https://nowhere.induct.test/choose', apiVersion: '2021-10-01' };
    const { id, primaryKey } = await individual({ allocationPolicy: 'custom', customAllocationDefinition });
    const state = await registrationEndsAs('failed', registerWithKey(id, primaryKey));
    assert.equal(state.errorCode, 400207);
    assert.ok(state.errorMessage);
  });
});
