'use strict';
// What a registration leaves in the hub: seen through `azure-iothub`, made by the device client
// and by `azure-iot-provisioning-service`.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { provisioningService, registryOf, hostOf, uniqueId } = require('./support/world');
const { refusedByHub } = require('./support/refusals');
const { registerWithKey, registerWithCertificate, derivedKey } = require('./support/devices');
const { authority, leaf, presenting, sha256 } = require('./support/certificates');

const service = provisioningService();
const [one, two] = ['hub-1', 'hub-2'].map((name) => ({ host: hostOf(name), registry: registryOf(name) }));

/** An enrollment bound to one hub, with generated keys. */
async function enrolled(hub, more = {}) {
  const enrollment = {
    registrationId: uniqueId('press'),
    attestation: { type: 'symmetricKey' },
    allocationPolicy: 'static',
    iotHubs: [hub.host],
    ...more,
  };
  const created = (await service.createOrUpdateIndividualEnrollment(enrollment)).responseBody;
  return { id: created.registrationId, created, ...created.attestation.symmetricKey };
}

async function group(attestation, more = {}) {
  const written = { enrollmentGroupId: uniqueId('line'), attestation, ...more };
  return (await service.createOrUpdateEnrollmentGroup(written)).responseBody;
}

async function identity(hub, deviceId) {
  return (await hub.registry.get(deviceId)).responseBody;
}

async function twin(hub, deviceId) {
  return (await hub.registry.getTwin(deviceId)).responseBody;
}

function absent(hub, deviceId) {
  return refusedByHub(hub.registry.get(deviceId), { as: 'DeviceNotFoundError', status: 404, code: 'DeviceNotFound' });
}

/** Sends the device of this enrollment to another hub at its next registration. */
async function moveTo(hub, { id }, reprovisionPolicy) {
  const read = (await service.getIndividualEnrollment(id)).responseBody;
  await service.createOrUpdateIndividualEnrollment({ ...read, iotHubs: [hub.host], reprovisionPolicy });
}

const initialTwin = { tags: { line: 'north', hall: 3 }, properties: { desired: { interval: 60, mode: { fast: true } } } };

describe('the identity of an assigned device', { concurrency: 8 }, () => {
  test("has its enrollment's keys", async () => {
    const { id, primaryKey, secondaryKey } = await enrolled(one);
    assert.equal((await registerWithKey(id, primaryKey)).assignedHub, one.host);
    const found = await identity(one, id);
    assert.equal(found.status, 'enabled');
    assert.equal(found.authentication.type, 'sas');
    assert.deepEqual(found.authentication.symmetricKey, { primaryKey, secondaryKey });
    assert.equal(found.capabilities.iotEdge, false);
    await absent(two, id);
  });

  test("has the keys derived from its group's", async () => {
    const { attestation } = await group({ type: 'symmetricKey' }, { allocationPolicy: 'static', iotHubs: [two.host] });
    const { primaryKey, secondaryKey } = attestation.symmetricKey;
    const id = uniqueId('sn');
    await registerWithKey(id, derivedKey(primaryKey, id));
    const { authentication } = await identity(two, id);
    assert.equal(authentication.type, 'sas');
    assert.equal(authentication.symmetricKey.primaryKey, derivedKey(primaryKey, id));
    assert.equal(authentication.symmetricKey.secondaryKey, derivedKey(secondaryKey, id));
  });

  test('has the thumbprint of the certificate it showed last', async () => {
    const id = uniqueId('x509');
    const [primary, secondary] = [leaf(id), leaf(id)];
    const clientCertificates = { primary: { certificate: primary.cert }, secondary: { certificate: secondary.cert } };
    await enrolled(one, { registrationId: id, attestation: { type: 'x509', x509: { clientCertificates } } });
    for (const shown of [primary, secondary]) {
      await registerWithCertificate(id, shown);
      const { authentication } = await identity(one, id);
      assert.equal(authentication.type, 'selfSigned');
      assert.equal(authentication.x509Thumbprint.primaryThumbprint.toUpperCase(), sha256(shown));
    }
  });

  test('has its own thumbprint, not its authority, when its group let it in', async () => {
    const id = uniqueId('x509');
    const root = authority(`${id} root`);
    const device = leaf(id, root);
    const signingCertificates = { primary: { certificate: root.cert } };
    await group({ type: 'x509', x509: { signingCertificates } }, { allocationPolicy: 'static', iotHubs: [one.host] });
    await registerWithCertificate(id, presenting(device, root));
    const { authentication } = await identity(one, id);
    assert.equal(authentication.type, 'selfSigned');
    assert.equal(authentication.x509Thumbprint.primaryThumbprint.toUpperCase(), sha256(device));
    assert.equal(authentication.x509Thumbprint.secondaryThumbprint.toUpperCase(), sha256(device));
  });

  test('has the device id of its enrollment, and is an edge device when that says so', async () => {
    const deviceId = uniqueId('edge');
    const { id, primaryKey } = await enrolled(one, { deviceId, capabilities: { iotEdge: true } });
    await registerWithKey(id, primaryKey);
    assert.equal((await identity(one, deviceId)).capabilities.iotEdge, true);
    await absent(one, id);
  });

  test('stays as it is when the enrollment is disabled, and when it is deleted', async () => {
    const { id, primaryKey } = await enrolled(one);
    await registerWithKey(id, primaryKey);
    const before = await identity(one, id);
    const read = (await service.getIndividualEnrollment(id)).responseBody;
    await service.createOrUpdateIndividualEnrollment({ ...read, provisioningStatus: 'disabled' });
    assert.deepEqual(await identity(one, id), before);
    await service.deleteIndividualEnrollment(id);
    assert.deepEqual(await identity(one, id), before);
  });

  test('is made anew when the device registers after its hub lost it', async () => {
    const { id, primaryKey } = await enrolled(one);
    await registerWithKey(id, primaryKey);
    const before = await identity(one, id);
    await one.registry.delete(id);
    await registerWithKey(id, primaryKey);
    const after = await identity(one, id);
    assert.notEqual(after.generationId, before.generationId);
    assert.deepEqual(after.authentication.symmetricKey, before.authentication.symmetricKey);
  });
});

describe('the twin of an assigned device', { concurrency: 8 }, () => {
  test('starts as its enrollment says', async () => {
    const { id, primaryKey } = await enrolled(one, { initialTwin });
    await registerWithKey(id, primaryKey);
    const { tags, properties } = await twin(one, id);
    assert.deepEqual(tags, initialTwin.tags);
    const { $metadata, $version, ...desired } = properties.desired;
    assert.deepEqual(desired, initialTwin.properties.desired);
    assert.equal($version, 1);
    assert.ok($metadata.$lastUpdated);
  });

  test('keeps what operators wrote when the device registers again', async () => {
    const { id, primaryKey } = await enrolled(one, { initialTwin });
    await registerWithKey(id, primaryKey);
    await one.registry.updateTwin(id, { tags: { hall: 4 }, properties: { desired: { interval: 5 } } }, '*');
    assert.equal((await registerWithKey(id, primaryKey)).substatus, 'initialAssignment');
    const { tags, properties } = await twin(one, id);
    assert.deepEqual(tags, { line: 'north', hall: 4 });
    assert.equal(properties.desired.interval, 5);
  });

  test('goes with the device to another hub, and the old identity is removed', async () => {
    const enrollment = await enrolled(one, { initialTwin });
    const { id, primaryKey } = enrollment;
    await registerWithKey(id, primaryKey);
    await one.registry.updateTwin(id, { tags: { hall: 4 }, properties: { desired: { interval: 5 } } }, '*');
    await moveTo(two, enrollment, { updateHubAssignment: true, migrateDeviceData: true });

    const answer = await registerWithKey(id, primaryKey);
    assert.equal(answer.assignedHub, two.host);
    assert.equal(answer.substatus, 'deviceDataMigrated');
    const { tags, properties } = await twin(two, id);
    assert.deepEqual(tags, { line: 'north', hall: 4 });
    assert.equal(properties.desired.interval, 5);
    assert.deepEqual(properties.desired.mode, { fast: true });
    assert.deepEqual((await identity(two, id)).authentication.symmetricKey.primaryKey, primaryKey);
    await absent(one, id);
  });

  test('starts over in another hub when its data is not to be migrated', async () => {
    const enrollment = await enrolled(one, { initialTwin });
    const { id, primaryKey } = enrollment;
    await registerWithKey(id, primaryKey);
    await one.registry.updateTwin(id, { tags: { hall: 4, extra: true } }, '*');
    await moveTo(two, enrollment, { updateHubAssignment: true, migrateDeviceData: false });

    const answer = await registerWithKey(id, primaryKey);
    assert.equal(answer.assignedHub, two.host);
    assert.equal(answer.substatus, 'deviceDataReset');
    assert.deepEqual((await twin(two, id)).tags, initialTwin.tags);
    await absent(one, id);
  });

  test('stays where it is when the device is never to move', async () => {
    const enrollment = await enrolled(one, { initialTwin });
    const { id, primaryKey } = enrollment;
    await registerWithKey(id, primaryKey);
    await one.registry.updateTwin(id, { tags: { hall: 4 } }, '*');
    await moveTo(two, enrollment, { updateHubAssignment: false, migrateDeviceData: false });

    assert.equal((await registerWithKey(id, primaryKey)).assignedHub, one.host);
    assert.deepEqual((await twin(one, id)).tags, { line: 'north', hall: 4 });
    await absent(two, id);
  });
});
