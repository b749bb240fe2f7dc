'use strict';
// How devices are provisioned, the same over MQTT and AMQP. A `family` says over which transports, and
// how its clients tell what the service refused.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { world, provisioningService, registryOf, hostOf, uniqueId, newKey } = require('./world');
const { rejectionOf } = require('./refusals');
const { registerWithKey, registerWithCertificate, derivedKey } = require('./devices');
const { authority, leaf, presenting } = require('./certificates');

const service = provisioningService();

async function individual(more = {}) {
  const enrollment = { registrationId: uniqueId('press'), attestation: { type: 'symmetricKey' }, ...more };
  const { responseBody } = await service.createOrUpdateIndividualEnrollment(enrollment);
  return { id: responseBody.registrationId, created: responseBody, ...responseBody.attestation.symmetricKey };
}

async function group(attestation = { type: 'symmetricKey' }) {
  const { responseBody } = await service.createOrUpdateEnrollmentGroup({ enrollmentGroupId: uniqueId('line'), attestation });
  return { created: responseBody, ...responseBody.attestation.symmetricKey };
}

function signedBy({ cert }) {
  return group({ type: 'x509', x509: { signingCertificates: { primary: { certificate: cert } } } });
}

function isAssigned(answer, registrationId) {
  assert.equal(answer.status, 'assigned');
  assert.equal(answer.substatus, 'initialAssignment');
  assert.equal(answer.registrationId, registrationId);
  assert.equal(answer.deviceId, registrationId);
  assert.ok(Object.values(world.hubs).some(({ host }) => host === answer.assignedHub), answer.assignedHub);
  assert.equal(Object.values(answer).includes(null), false, 'members without a value are left out');
}

async function isDisabled(registration) {
  const error = await rejectionOf(registration);
  assert.equal(error.message, 'status is disabled', `${error}`);
  assert.equal(error.result.registrationState.status, 'disabled');
}

/**
 * `family` has
 * - `transports`: names of the device client's transports;
 * - `isRefused(error, errorCode)`: checks a refusal, and gives the body of what the service said.
 */
function devicesBeingProvisioned({ transports, isRefused }) {
  async function refused(registration, errorCode) {
    const body = isRefused(await rejectionOf(registration), errorCode);
    assert.equal(body.errorCode, errorCode);
    assert.ok(body.trackingId);
    assert.ok(body.message);
    assert.match(body.timestampUtc, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  }

  for (const transport of transports) {
    const how = { transport };

    describe(`a device is provisioned over ${transport}`, { concurrency: 16 }, () => {
      test('with either key of its own enrollment', async () => {
        const { id, primaryKey, secondaryKey } = await individual();
        isAssigned(await registerWithKey(id, primaryKey, how), id);
        isAssigned(await registerWithKey(id, secondaryKey, how), id);
      });

      test("with keys derived from either of its group's, and characters that a topic leaves as they are", async () => {
        const { primaryKey, secondaryKey } = await group();
        const [first, second] = [uniqueId('a:b.c_d'), uniqueId('SN')];
        const both = [
          registerWithKey(first, derivedKey(primaryKey, first), how),
          registerWithKey(second, derivedKey(secondaryKey, second), how),
        ];
        isAssigned(await both[0], first);
        isAssigned(await both[1], second);
      });

      test('with a certificate of its own', async () => {
        const id = uniqueId('cnc');
        const mine = leaf(id);
        const clientCertificates = { primary: { certificate: mine.cert } };
        await individual({ registrationId: id, attestation: { type: 'x509', x509: { clientCertificates } } });
        isAssigned(await registerWithCertificate(id, presenting(mine), how), id);
      });

      test('with a chain to an enrolled root', async () => {
        const root = authority(uniqueId('root'));
        const line = authority(uniqueId('line'), root);
        await signedBy(root);
        const id = uniqueId('cnc');
        isAssigned(await registerWithCertificate(id, presenting(leaf(id, line), line), how), id);
      });

      test('with the twin its enrollment gives it, whatever it says about itself', async () => {
        const initialTwin = { tags: { line: 4 }, properties: { desired: { interval: 60 } } };
        const more = { initialTwin, allocationPolicy: 'static', iotHubs: [hostOf('hub-2')] };
        const { id, primaryKey } = await individual(more);
        const answer = await registerWithKey(id, primaryKey, { ...how, payload: { model: 'x', list: [1, null, 'ü'] } });
        isAssigned(answer, id);
        assert.equal(answer.assignedHub, hostOf('hub-2'));
        const { responseBody: twin } = await registryOf('hub-2').getTwin(id);
        assert.deepEqual(twin.tags, { line: 4 });
        assert.equal(twin.properties.desired.interval, 60);
      });

      test('again, to where its enrollment sends it now', async () => {
        const { id, primaryKey } = await individual({ allocationPolicy: 'static', iotHubs: [hostOf('hub-1')] });
        isAssigned(await registerWithKey(id, primaryKey, how), id);
        const { responseBody: read } = await service.getIndividualEnrollment(id);
        const reprovisionPolicy = { updateHubAssignment: true, migrateDeviceData: true };
        await service.createOrUpdateIndividualEnrollment({ ...read, iotHubs: [hostOf('hub-2')], reprovisionPolicy });
        const answer = await registerWithKey(id, primaryKey, how);
        assert.deepEqual([answer.assignedHub, answer.substatus], [hostOf('hub-2'), 'deviceDataMigrated']);
      });
    });

    describe(`a device is refused over ${transport}`, { concurrency: 16 }, () => {
      test('with a wrong key, and nothing is left of it', async () => {
        const { id } = await individual();
        await refused(registerWithKey(id, newKey(), how), 401002);
        await rejectionOf(service.getDeviceRegistrationState(id));
      });

      test('when nobody enrolled it', async () => {
        await refused(registerWithKey(uniqueId('stranger'), newKey(), how), 401002);
      });

      test('with the certificate of another', async () => {
        const root = authority(uniqueId('root'));
        await signedBy(root);
        const [id, other] = [uniqueId('cnc'), uniqueId('other')];
        await refused(registerWithCertificate(id, presenting(leaf(other, root)), how), 401002);
      });

      test('in an ID scope that is not ours', async () => {
        const { id, primaryKey } = await individual();
        await refused(registerWithKey(id, primaryKey, { ...how, idScope: '0neFFFFFFFF' }), 404000);
      });

      test('as disabled when its enrollment is, and admitted when it is enabled again', async () => {
        const { id, primaryKey, created } = await individual({ provisioningStatus: 'disabled' });
        await isDisabled(registerWithKey(id, primaryKey, how));
        await service.createOrUpdateIndividualEnrollment({ ...created, provisioningStatus: 'enabled' });
        isAssigned(await registerWithKey(id, primaryKey, how), id);
      });

      test('as disabled when its group is', async () => {
        const { created, primaryKey } = await group();
        await service.createOrUpdateEnrollmentGroup({ ...created, provisioningStatus: 'disabled' });
        const id = uniqueId('SN');
        await isDisabled(registerWithKey(id, derivedKey(primaryKey, id), how));
      });

      test('when no hub may take it', async () => {
        const { id, primaryKey } = await individual({ allocationPolicy: 'static', iotHubs: ['nowhere.induct.test'] });
        const error = await rejectionOf(registerWithKey(id, primaryKey, how));
        assert.equal(error.name, 'ProvisioningRegistrationFailedError');
        assert.equal(error.result.registrationState.errorCode, 400208);
      });
    });
  }
}

module.exports = { devicesBeingProvisioned };
