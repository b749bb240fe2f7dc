'use strict';
// Devices with X.509 certificates, through `azure-iot-provisioning-device` over HTTPS.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { world, provisioningService, uniqueId, newKey } = require('./support/world');
const { deviceRefused, registrationEndsAs } = require('./support/refusals');
const { registerWithCertificate, registerWithKey } = require('./support/devices');
const { CA, authority, leaf, presenting } = require('./support/certificates');

const service = provisioningService();
const unauthorized = { as: 'UnauthorizedError', status: 401, code: 401002 };

/** Enrolls one device by its certificate, or two of which either will do. */
async function enroll(registrationId, primary, secondary, more = {}) {
  const slot = (device) => device && { certificate: device.cert };
  const clientCertificates = { primary: slot(primary), secondary: slot(secondary) };
  const attestation = { type: 'x509', x509: { clientCertificates } };
  return (await service.createOrUpdateIndividualEnrollment({ registrationId, attestation, ...more })).responseBody;
}

async function enrollGroup(primary, secondary, more = {}) {
  const slot = (ca) => ca && { certificate: ca.cert };
  const signingCertificates = { primary: slot(primary), secondary: slot(secondary) };
  const attestation = { type: 'x509', x509: { signingCertificates } };
  const group = { enrollmentGroupId: uniqueId('line'), attestation, ...more };
  return (await service.createOrUpdateEnrollmentGroup(group)).responseBody;
}

/** A root, an intermediate under it and one device's certificate, none of which another test has. */
function hierarchy() {
  const id = uniqueId('press');
  const root = authority(`${id} root`);
  const intermediate = authority(`${id} intermediate`, root);
  return { id, root, intermediate, device: leaf(id, intermediate) };
}

function isAssigned(answer, registrationId) {
  assert.equal(answer.status, 'assigned');
  assert.equal(answer.substatus, 'initialAssignment');
  assert.equal(answer.registrationId, registrationId);
  assert.equal(answer.deviceId, registrationId);
  assert.ok(Object.values(world.hubs).some(({ host }) => host === answer.assignedHub), answer.assignedHub);
  assert.equal(typeof answer.x509, 'object');
}

describe('a device with its own enrolled certificate is provisioned', { concurrency: 8 }, () => {
  test('when it signed the certificate itself', async () => {
    const id = uniqueId('self');
    const device = leaf(id);
    await enroll(id, device);
    isAssigned(await registerWithCertificate(id, device), id);
  });

  test('when the certificate has an RSA key', async () => {
    const id = uniqueId('rsa');
    const device = leaf(id, undefined, { kind: 'rsa' });
    await enroll(id, device);
    isAssigned(await registerWithCertificate(id, device), id);
  });

  test('when the certificate calls itself an authority, as tutorials make them', async () => {
    const id = uniqueId('tutorial');
    const device = leaf(id, undefined, { extensions: CA });
    await enroll(id, device);
    isAssigned(await registerWithCertificate(id, device), id);
  });

  test('with the secondary as with the primary', async () => {
    const id = uniqueId('both');
    const [primary, secondary] = [leaf(id), leaf(id)];
    await enroll(id, primary, secondary);
    const first = await registerWithCertificate(id, primary);
    const second = await registerWithCertificate(id, secondary);
    isAssigned(first, id);
    isAssigned(second, id);
    assert.equal(second.assignedHub, first.assignedHub);
  });

  test('when an authority signed it that nobody enrolled', async () => {
    const { id, device, intermediate } = hierarchy();
    await enroll(id, device);
    isAssigned(await registerWithCertificate(id, presenting(device, intermediate)), id);
  });
});

describe('a device of an enrolled authority is provisioned', { concurrency: 8 }, () => {
  test('with its chain up to the root', async () => {
    const { id, root, intermediate, device } = hierarchy();
    await enrollGroup(intermediate);
    isAssigned(await registerWithCertificate(id, presenting(device, intermediate, root)), id);
  });

  test('with its chain up to the enrolled intermediate', async () => {
    const { id, intermediate, device } = hierarchy();
    await enrollGroup(intermediate);
    isAssigned(await registerWithCertificate(id, presenting(device, intermediate)), id);
  });

  test('with nothing but its own certificate, when its issuer is enrolled', async () => {
    const { id, intermediate, device } = hierarchy();
    await enrollGroup(intermediate);
    isAssigned(await registerWithCertificate(id, device), id);
  });

  test('through an intermediate nobody enrolled, when the root is', async () => {
    const { id, root, intermediate, device } = hierarchy();
    await enrollGroup(root);
    isAssigned(await registerWithCertificate(id, presenting(device, intermediate)), id);
  });

  test('by the secondary of its group as by the primary', async () => {
    const { id, intermediate, device } = hierarchy();
    await enrollGroup(authority(uniqueId('old')), intermediate);
    isAssigned(await registerWithCertificate(id, presenting(device, intermediate)), id);
  });

  test('under the name in its certificate, whatever the letter case it asks in', async () => {
    const { id, intermediate, device } = hierarchy();
    await enrollGroup(intermediate);
    const answer = await registerWithCertificate(id.toUpperCase(), presenting(device, intermediate));
    assert.equal(answer.status, 'assigned');
    assert.equal(answer.registrationId.toLowerCase(), id);
  });
});

describe('a device with a certificate is refused', { concurrency: 8 }, () => {
  test('when nobody enrolled it or its authorities', async () => {
    const { id, root, intermediate, device } = hierarchy();
    await deviceRefused(registerWithCertificate(id, presenting(device, intermediate, root)), unauthorized);
    const lonely = uniqueId('lonely');
    await deviceRefused(registerWithCertificate(lonely, leaf(lonely)), unauthorized);
  });

  test('under a name that is not in its certificate', async () => {
    const { intermediate, device } = hierarchy();
    await enrollGroup(intermediate);
    await deviceRefused(registerWithCertificate(uniqueId('alias'), presenting(device, intermediate)), unauthorized);
  });

  test('with another certificate of the same name', async () => {
    const id = uniqueId('impostor');
    await enroll(id, leaf(id));
    await deviceRefused(registerWithCertificate(id, leaf(id)), unauthorized);
  });

  test('of an authority that only has the name of the enrolled one', async () => {
    const { id, intermediate } = hierarchy();
    await enrollGroup(intermediate);
    const forger = authority(`${id} intermediate`);
    const device = leaf(id, forger);
    await deviceRefused(registerWithCertificate(id, presenting(device, forger)), unauthorized);
    await deviceRefused(registerWithCertificate(id, presenting(device, intermediate)), unauthorized);
  });

  test('of another device that acts as an authority', async () => {
    const { intermediate, id: first, device } = hierarchy();
    await enrollGroup(intermediate);
    const id = uniqueId(`${first}-child`);
    const child = leaf(id, device);
    await deviceRefused(registerWithCertificate(id, presenting(child, device, intermediate)), unauthorized);
  });

  test('with its chain broken below the enrolled root', async () => {
    const { id, root, device } = hierarchy();
    await enrollGroup(root);
    await deviceRefused(registerWithCertificate(id, device), unauthorized);
  });

  test('before its time and after it', async () => {
    const root = authority(uniqueId('root'));
    await enrollGroup(root);
    for (const [from, until] of [['20200101000000Z', '20210101000000Z'], ['20990101000000Z', '21000101000000Z']]) {
      const id = uniqueId('untimely');
      await deviceRefused(registerWithCertificate(id, leaf(id, root, { from, until })), unauthorized);
    }
  });

  test('when it is made for servers only', async () => {
    const root = authority(uniqueId('root'));
    await enrollGroup(root);
    const id = uniqueId('server');
    const extensions = 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth';
    await deviceRefused(registerWithCertificate(id, leaf(id, root, { extensions })), unauthorized);
  });

  test('when its enrollment is for a key', async () => {
    const { id, intermediate, device } = hierarchy();
    await enrollGroup(intermediate);
    await service.createOrUpdateIndividualEnrollment({ registrationId: id, attestation: { type: 'symmetricKey' } });
    await deviceRefused(registerWithCertificate(id, presenting(device, intermediate)), unauthorized);
  });

  test('as disabled when its enrollment is, and admitted when it is enabled again', async () => {
    const id = uniqueId('disabled');
    const device = leaf(id);
    const created = await enroll(id, device, undefined, { provisioningStatus: 'disabled' });
    const state = await registrationEndsAs('disabled', registerWithCertificate(id, device));
    assert.equal(state.registrationId, id);
    await service.createOrUpdateIndividualEnrollment({ ...created, provisioningStatus: 'enabled' });
    isAssigned(await registerWithCertificate(id, device), id);
  });

  test('as disabled when its group is', async () => {
    const { id, intermediate, device } = hierarchy();
    await enrollGroup(intermediate, undefined, { provisioningStatus: 'disabled' });
    await registrationEndsAs('disabled', registerWithCertificate(id, presenting(device, intermediate)));
  });

  test('as disabled when the group of its issuer is, though the group of the root is not', async () => {
    const { id, root, intermediate, device } = hierarchy();
    await enrollGroup(root);
    const lower = await enrollGroup(intermediate, undefined, { provisioningStatus: 'disabled' });
    const credentials = presenting(device, intermediate, root);
    await registrationEndsAs('disabled', registerWithCertificate(id, credentials));
    // Once the lower group is gone, the higher one decides.
    await service.deleteEnrollmentGroup(lower.enrollmentGroupId);
    isAssigned(await registerWithCertificate(id, credentials), id);
  });

  test('when it is excluded from its group by a disabled enrollment with a key, until that is deleted', async () => {
    const { id, intermediate, device } = hierarchy();
    await enrollGroup(intermediate);
    const credentials = presenting(device, intermediate);
    isAssigned(await registerWithCertificate(id, credentials), id);
    await service.createOrUpdateIndividualEnrollment({
      registrationId: id, attestation: { type: 'symmetricKey' }, provisioningStatus: 'disabled',
    });
    await registrationEndsAs('disabled', registerWithCertificate(id, credentials));
    const neighbour = uniqueId('neighbour');
    isAssigned(await registerWithCertificate(neighbour, presenting(leaf(neighbour, intermediate), intermediate)), neighbour);
    await service.deleteIndividualEnrollment(id);
    isAssigned(await registerWithCertificate(id, credentials), id);
  });

  test('when it is excluded from its group by its certificate, until that is deleted', async () => {
    const { id, intermediate, device } = hierarchy();
    await enrollGroup(intermediate);
    await enroll(id, device, undefined, { provisioningStatus: 'disabled' });
    const credentials = presenting(device, intermediate);
    await registrationEndsAs('disabled', registerWithCertificate(id, credentials));
    await service.deleteIndividualEnrollment(id);
    isAssigned(await registerWithCertificate(id, credentials), id);
  });

  test('in an ID scope that is not ours', async () => {
    const id = uniqueId('self');
    const device = leaf(id);
    await enroll(id, device);
    await deviceRefused(registerWithCertificate(id, device, { idScope: '0neFFFFFFFF' }), { as: 'Error', status: 404, code: 404000 });
  });
});

describe('a device without a certificate', () => {
  test('is refused by a key where a certificate is wanted', async () => {
    const id = uniqueId('no-cert');
    await enroll(id, leaf(id));
    await deviceRefused(registerWithKey(id, newKey()), unauthorized);
  });
});
