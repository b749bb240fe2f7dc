'use strict';
// Enrollment groups through `azure-iot-provisioning-service`.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { world, provisioningService, uniqueId, newKey } = require('./support/world');
const { refusedByProvisioning } = require('./support/refusals');
const { pagesOf } = require('./support/pages');
const { authority, leaf, sha256 } = require('./support/certificates');

const service = provisioningService();

function withKeys(enrollmentGroupId, more = {}) {
  return { enrollmentGroupId, attestation: { type: 'symmetricKey' }, ...more };
}

function withAuthorities(enrollmentGroupId, primary, secondary, more = {}) {
  const slot = (certificate) => certificate && { certificate };
  const signingCertificates = { primary: slot(primary), secondary: slot(secondary) };
  return { enrollmentGroupId, attestation: { type: 'x509', x509: { signingCertificates } }, ...more };
}

async function put(group) {
  const { responseBody, httpResponse } = await service.createOrUpdateEnrollmentGroup(group);
  assert.equal(httpResponse.statusCode, 200);
  return responseBody;
}

async function get(id) {
  return (await service.getEnrollmentGroup(id)).responseBody;
}

async function mechanism(id) {
  return (await service.getEnrollmentGroupAttestationMechanism(id)).responseBody;
}

async function queried(id) {
  const query = service.createEnrollmentGroupQuery({ query: 'SELECT * FROM enrollmentGroups' }, 100);
  const found = (await pagesOf(query, 'EnrollmentGroup')).flat().filter((group) => group.enrollmentGroupId === id);
  assert.equal(found.length, 1);
  return found[0];
}

describe('an enrollment group', () => {
  test('is created with generated keys, which only the writer and the mechanism show', async () => {
    const id = uniqueId('line');
    const created = await put(withKeys(id));
    const { primaryKey, secondaryKey } = created.attestation.symmetricKey;
    assert.equal(Buffer.from(primaryKey, 'base64').length, 64);
    assert.equal(Buffer.from(secondaryKey, 'base64').length, 64);

    assert.deepEqual((await get(id)).attestation, { type: 'symmetricKey' });
    assert.deepEqual((await queried(id)).attestation, { type: 'symmetricKey' });
    assert.deepEqual(await mechanism(id), { type: 'symmetricKey', symmetricKey: { primaryKey, secondaryKey } });
  });

  test('is stored as it was written: nothing lost, nothing added', async () => {
    const id = uniqueId('verbatim');
    const written = withKeys(id, {
      capabilities: { iotEdge: false },
      initialTwin: { tags: { hall: 3 }, properties: { desired: { interval: 5 } } },
      provisioningStatus: 'disabled',
      reprovisionPolicy: { updateHubAssignment: false, migrateDeviceData: false },
      allocationPolicy: 'hashed',
      iotHubs: [world.hubs['hub-1'].host, world.hubs['hub-2'].host],
    });
    const created = await put(written);
    for (const member of Object.keys(written)) {
      if (member !== 'attestation') assert.deepEqual(created[member], written[member], member);
    }
    const bare = await put(withKeys(uniqueId('bare')));
    assert.deepEqual(Object.keys(bare).sort(), [
      'attestation', 'createdDateTimeUtc', 'enrollmentGroupId', 'etag', 'lastUpdatedDateTimeUtc',
    ]);
    assert.equal('registrationState' in (await get(id)), false);
  });

  test('shows what is known of its authorities and never their certificates', async () => {
    const id = uniqueId('x509');
    const root = authority(`${id} root`);
    const intermediate = authority(`${id} intermediate`, root);
    const created = await put(withAuthorities(id, intermediate.cert, root.cert));
    const shown = [created.attestation, (await get(id)).attestation, (await queried(id)).attestation, await mechanism(id)];
    for (const { x509 } of shown) {
      const { primary, secondary } = x509.signingCertificates;
      assert.deepEqual([Object.keys(primary), Object.keys(secondary)], [['info'], ['info']]);
      assert.equal(primary.info.subjectName, `CN=${id} intermediate`);
      assert.equal(primary.info.issuerName, `CN=${id} root`);
      assert.equal(primary.info.sha256Thumbprint, sha256(intermediate));
      assert.equal(secondary.info.sha256Thumbprint, sha256(root));
    }
  });

  test('is rolled to a new authority by its etag while the old one stays', async () => {
    const id = uniqueId('roll');
    const [old, next] = [authority(`${id} old`), authority(`${id} next`)];
    await put(withAuthorities(id, old.cert));
    const read = await get(id);
    read.attestation.x509.signingCertificates.secondary = { certificate: next.cert };
    const updated = await put(read);
    const { primary, secondary } = updated.attestation.x509.signingCertificates;
    assert.equal(primary.info.sha256Thumbprint, sha256(old));
    assert.equal(secondary.info.sha256Thumbprint, sha256(next));
  });

  test('keeps its keys when what was read is written back', async () => {
    const id = uniqueId('update');
    const created = await put(withKeys(id));
    const updated = await put({ ...(await get(id)), provisioningStatus: 'disabled' });
    assert.notEqual(updated.etag, created.etag);
    assert.equal(updated.createdDateTimeUtc, created.createdDateTimeUtc);
    assert.deepEqual((await mechanism(id)).symmetricKey, created.attestation.symmetricKey);
  });

  test('is deleted with its etag, or without any', async () => {
    const [withEtag, without] = [uniqueId('delete'), uniqueId('delete')];
    const created = await put(withKeys(withEtag));
    await put(withKeys(without));
    await service.deleteEnrollmentGroup(created);
    await service.deleteEnrollmentGroup(without);
    for (const id of [withEtag, without]) {
      await refusedByProvisioning(service.getEnrollmentGroup(id), { as: 'Error', status: 404, code: 404202 });
    }
  });
});

describe('an enrollment group is refused', () => {
  const bad = (group) =>
    refusedByProvisioning(service.createOrUpdateEnrollmentGroup(group), { as: 'ArgumentError', status: 400 });

  test('when the id is taken and no etag is given', async () => {
    const id = uniqueId('taken');
    await put(withKeys(id));
    await refusedByProvisioning(service.createOrUpdateEnrollmentGroup(withKeys(id)), {
      as: 'DeviceAlreadyExistsError', status: 409, code: 409202,
    });
  });

  test('when the etag is stale, and nothing changes', async () => {
    const id = uniqueId('stale');
    const created = await put(withKeys(id));
    const updated = await put({ ...created, provisioningStatus: 'disabled' });
    const stale = { ...created, provisioningStatus: 'enabled' };
    await refusedByProvisioning(service.createOrUpdateEnrollmentGroup(stale), { as: 'InvalidEtagError', status: 412 });
    await refusedByProvisioning(service.deleteEnrollmentGroup(id, created.etag), { as: 'InvalidEtagError', status: 412 });
    assert.equal((await get(id)).etag, updated.etag);
  });

  test('when it is missing', async () => {
    const id = uniqueId('missing');
    const missing = { as: 'Error', status: 404, code: 404202 };
    await refusedByProvisioning(service.getEnrollmentGroup(id), missing);
    await refusedByProvisioning(service.getEnrollmentGroupAttestationMechanism(id), missing);
    await refusedByProvisioning(service.deleteEnrollmentGroup(id), missing);
  });

  test('when it attests as only one device can', async () => {
    const id = uniqueId('wrong-kind');
    const tpm = { endorsementKey: newKey(32) };
    await bad({ enrollmentGroupId: id, attestation: { type: 'tpm', tpm } });
    const clientCertificates = { primary: { certificate: leaf(id).cert } };
    await bad({ enrollmentGroupId: id, attestation: { type: 'x509', x509: { clientCertificates } } });
  });

  test('when its authority is a private key, or no certificate', async () => {
    const id = uniqueId('bad-cert');
    const root = authority(id);
    await bad(withAuthorities(id, root.cert + root.key));
    await bad(withAuthorities(id, 'no certificate'));
  });
});
