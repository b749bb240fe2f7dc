'use strict';
// What the service remembers of devices that registered, through `azure-iot-provisioning-service`.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { provisioningService, registryOf, uniqueId } = require('./support/world');
const { refusedByProvisioning, registrationEndsAs } = require('./support/refusals');
const { pagesOf } = require('./support/pages');
const { registerWithKey, derivedKey } = require('./support/devices');

const service = provisioningService();
const missing = { as: 'Error', status: 404, code: 404203 };

async function enrolled(prefix, more = {}) {
  const enrollment = { registrationId: uniqueId(prefix), attestation: { type: 'symmetricKey' }, ...more };
  return (await service.createOrUpdateIndividualEnrollment(enrollment)).responseBody;
}

async function group(prefix, more = {}) {
  const enrollment = { enrollmentGroupId: uniqueId(prefix), attestation: { type: 'symmetricKey' }, ...more };
  return (await service.createOrUpdateEnrollmentGroup(enrollment)).responseBody;
}

function registerIndividual({ registrationId, attestation }) {
  return registerWithKey(registrationId, attestation.symmetricKey.primaryKey);
}

async function registerMembers({ attestation }, registrationIds) {
  const { primaryKey } = attestation.symmetricKey;
  await Promise.all(registrationIds.map((id) => registerWithKey(id, derivedKey(primaryKey, id))));
}

async function record(registrationId) {
  return (await service.getDeviceRegistrationState(registrationId)).responseBody;
}

describe('a registration record', { concurrency: 8 }, () => {
  test('says what the device was told', async () => {
    const enrollment = await enrolled('record');
    await refusedByProvisioning(service.getDeviceRegistrationState(enrollment.registrationId), missing);
    const told = await registerIndividual(enrollment);
    const kept = await record(enrollment.registrationId);
    for (const member of ['registrationId', 'deviceId', 'assignedHub', 'status', 'substatus', 'etag',
      'createdDateTimeUtc', 'lastUpdatedDateTimeUtc']) {
      assert.ok(kept[member], member);
      assert.equal(kept[member], told[member], member);
    }
    const { registrationState } = (await service.getIndividualEnrollment(enrollment.registrationId)).responseBody;
    assert.deepEqual(registrationState, kept);
  });

  test('is listed with the others of its group, page by page', async () => {
    const [line, other] = [await group('line'), await group('other')];
    const [ids, others] = [5, 1].map((count) => Array.from({ length: count }, () => uniqueId('member')));
    await registerMembers(line, ids);
    await registerMembers(other, others);

    const query = service.createEnrollmentGroupDeviceRegistrationStateQuery({ query: '*' }, line.enrollmentGroupId, 2);
    const pages = await pagesOf(query, 'DeviceRegistration');
    for (const page of pages) assert.ok(page.length <= 2);
    const found = pages.flat();
    assert.deepEqual(found.map(({ registrationId }) => registrationId).sort(), ids.sort());
    for (const { status, assignedHub, deviceId, registrationId } of found) {
      assert.equal(status, 'assigned');
      assert.ok(assignedHub);
      assert.equal(deviceId, registrationId);
    }
  });

  test('of a group without devices is an empty list', async () => {
    const { enrollmentGroupId } = await group('empty');
    const query = service.createEnrollmentGroupDeviceRegistrationStateQuery({ query: '*' }, enrollmentGroupId);
    assert.deepEqual(await pagesOf(query, 'DeviceRegistration'), [[]]);
  });

  test('is also made of a refusal, without hub and device', async () => {
    const enrollment = await enrolled('disabled', { provisioningStatus: 'disabled' });
    await registrationEndsAs('disabled', registerIndividual(enrollment));
    const kept = await record(enrollment.registrationId);
    assert.equal(kept.status, 'disabled');
    assert.equal(kept.registrationId, enrollment.registrationId);
    assert.ok(kept.etag);
    assert.ok(kept.lastUpdatedDateTimeUtc);
    assert.equal(kept.assignedHub, undefined);
    assert.equal(kept.deviceId, undefined);
  });

  test('is deleted by its etag, which leaves the device in its hub', async () => {
    const enrollment = await enrolled('deregister');
    const { assignedHub, deviceId } = await registerIndividual(enrollment);
    const kept = await record(enrollment.registrationId);
    await refusedByProvisioning(service.deleteDeviceRegistrationState(enrollment.registrationId, enrollment.etag), {
      as: 'InvalidEtagError', status: 412,
    });
    await service.deleteDeviceRegistrationState(kept);
    await refusedByProvisioning(service.getDeviceRegistrationState(enrollment.registrationId), missing);
    const { registrationState } = (await service.getIndividualEnrollment(enrollment.registrationId)).responseBody;
    assert.equal(registrationState.status, 'unassigned');
    assert.equal((await registryOf(assignedHub).get(deviceId)).responseBody.status, 'enabled');

    const again = await registerIndividual(enrollment);
    assert.equal(again.substatus, 'initialAssignment');
    assert.notEqual(again.createdDateTimeUtc, kept.createdDateTimeUtc);
  });

  test('goes with its individual enrollment', async () => {
    const enrollment = await enrolled('delete');
    const { assignedHub, deviceId } = await registerIndividual(enrollment);
    await service.deleteIndividualEnrollment(enrollment.registrationId);
    await refusedByProvisioning(service.getDeviceRegistrationState(enrollment.registrationId), missing);
    assert.equal((await registryOf(assignedHub).get(deviceId)).responseBody.status, 'enabled');
  });

  test('outlives its group, until it is deleted itself', async () => {
    const line = await group('orphans');
    const id = uniqueId('orphan');
    await registerMembers(line, [id]);
    await service.deleteEnrollmentGroup(line.enrollmentGroupId);
    assert.equal((await record(id)).status, 'assigned');
    await service.deleteDeviceRegistrationState(id);
    await refusedByProvisioning(service.getDeviceRegistrationState(id), missing);
  });

  test('cannot be deleted where there is none', async () => {
    await refusedByProvisioning(service.deleteDeviceRegistrationState(uniqueId('nobody')), missing);
  });
});
