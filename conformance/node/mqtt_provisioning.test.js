'use strict';
// Devices being provisioned through `azure-iot-provisioning-device-mqtt`: `Mqtt` on port 8883, and
// `MqttWs` in WebSockets.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { world, provisioningService, registryOf, hostOf, uniqueId, newKey } = require('./support/world');
const { rejectionOf } = require('./support/refusals');
const { registerWithKey, registerWithCertificate, derivedKey } = require('./support/devices');
const { authority, leaf, presenting } = require('./support/certificates');

const service = provisioningService();

async function individual(more = {}) {
  const enrollment = { registrationId: uniqueId('press'), attestation: { type: 'symmetricKey' }, ...more };
  const { responseBody } = await service.createOrUpdateIndividualEnrollment(enrollment);
  return { id: responseBody.registrationId, created: responseBody, ...responseBody.attestation.symmetricKey };
}

async function group(attestation = { type: 'symmetricKey' }) {
  const { responseBody } = await service.createOrUpdateEnrollmentGroup({ enrollmentGroupId: uniqueId('line'), attestation });
  return responseBody.attestation.symmetricKey;
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

/** The service said no in its answer: the client makes a class of the status, and hands over the body. */
async function isRefused(registration, name, errorCode) {
  const error = await rejectionOf(registration);
  assert.equal(error.name, name, `${error}`);
  assert.equal(error.result.errorCode, errorCode);
  assert.ok(error.result.trackingId);
  assert.ok(error.result.message);
  assert.match(error.result.timestampUtc, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
}

// Most of the time is waiting, so the transports wait side by side.
describe('over MQTT', { concurrency: true }, () => {
  for (const transport of ['Mqtt', 'MqttWs']) {
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
    });

    describe(`a device is refused over ${transport}`, { concurrency: 16 }, () => {
      test('with a wrong key, and nothing is left of it', async () => {
        const { id } = await individual();
        await isRefused(registerWithKey(id, newKey(), how), 'UnauthorizedError', 401002);
        await rejectionOf(service.getDeviceRegistrationState(id));
      });

      test('when nobody enrolled it', async () => {
        await isRefused(registerWithKey(uniqueId('stranger'), newKey(), how), 'UnauthorizedError', 401002);
      });

      test('with the certificate of another', async () => {
        const root = authority(uniqueId('root'));
        await signedBy(root);
        const [id, other] = [uniqueId('cnc'), uniqueId('other')];
        await isRefused(registerWithCertificate(id, presenting(leaf(other, root)), how), 'UnauthorizedError', 401002);
      });

      test('in an ID scope that is not ours', async () => {
        const { id, primaryKey } = await individual();
        const registration = registerWithKey(id, primaryKey, { ...how, idScope: '0neFFFFFFFF' });
        await isRefused(registration, 'DeviceNotFoundError', 404000);
      });

      test('as disabled when its enrollment is, and admitted when it is enabled again', async () => {
        const { id, primaryKey, created } = await individual({ provisioningStatus: 'disabled' });
        const error = await rejectionOf(registerWithKey(id, primaryKey, how));
        assert.equal(error.message, 'status is disabled');
        assert.equal(error.result.registrationState.status, 'disabled');
        await service.createOrUpdateIndividualEnrollment({ ...created, provisioningStatus: 'enabled' });
        isAssigned(await registerWithKey(id, primaryKey, how), id);
      });

      test('when no hub may take it', async () => {
        const { id, primaryKey } = await individual({ allocationPolicy: 'static', iotHubs: ['nowhere.induct.test'] });
        const error = await rejectionOf(registerWithKey(id, primaryKey, how));
        assert.equal(error.name, 'ProvisioningRegistrationFailedError');
        assert.equal(error.result.registrationState.errorCode, 400208);
      });
    });
  }
});
