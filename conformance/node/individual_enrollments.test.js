'use strict';
// Individual enrollments through `azure-iot-provisioning-service`: what an operator writes, what
// comes back, and every refusal the client can be told.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { generateKeyPairSync } = require('node:crypto');
const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');
const { world, provisioningService, uniqueId, withMember, tokenFrom, newKey } = require('./support/world');
const { refusedByProvisioning } = require('./support/refusals');
const { pagesOf } = require('./support/pages');
const { authority, leaf, sha1, sha256 } = require('./support/certificates');

const service = provisioningService();

function withKeys(registrationId, more = {}) {
  return { registrationId, attestation: { type: 'symmetricKey' }, ...more };
}

function withCertificates(registrationId, primary, secondary, more = {}) {
  const slot = (certificate) => certificate && { certificate };
  const clientCertificates = { primary: slot(primary), secondary: slot(secondary) };
  return { registrationId, attestation: { type: 'x509', x509: { clientCertificates } }, ...more };
}

/** The public area of an endorsement key as a TPM writes it: RSA-2048 after the usual template. */
function endorsementKey() {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const modulus = Buffer.from(publicKey.export({ format: 'jwk' }).n, 'base64url');
  const template = Buffer.from(
    '013a0001000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa' +
      '00060080004300100800000000000100',
    'hex',
  );
  return Buffer.concat([template, modulus]).toString('base64');
}

async function put(enrollment) {
  const { responseBody, httpResponse } = await service.createOrUpdateIndividualEnrollment(enrollment);
  assert.equal(httpResponse.statusCode, 200);
  assert.equal(httpResponse.headers.etag, undefined, 'the etag travels in the body only');
  return responseBody;
}

async function get(registrationId) {
  return (await service.getIndividualEnrollment(registrationId)).responseBody;
}

async function mechanism(registrationId) {
  return (await service.getIndividualEnrollmentAttestationMechanism(registrationId)).responseBody;
}

/** The enrollment as a query shows it. */
async function queried(registrationId) {
  const query = service.createIndividualEnrollmentQuery({ query: 'SELECT * FROM enrollments' }, 100);
  const found = (await pagesOf(query, 'Enrollment')).flat().filter((one) => one.registrationId === registrationId);
  assert.equal(found.length, 1);
  return found[0];
}

describe('an individual enrollment', () => {
  test('is created with generated keys, which only the writer and the mechanism show', async () => {
    const id = uniqueId('keys');
    const created = await put(withKeys(id));
    const { primaryKey, secondaryKey } = created.attestation.symmetricKey;
    assert.equal(Buffer.from(primaryKey, 'base64').length, 64);
    assert.equal(Buffer.from(secondaryKey, 'base64').length, 64);
    assert.notEqual(primaryKey, secondaryKey);

    assert.deepEqual((await get(id)).attestation, { type: 'symmetricKey' });
    assert.deepEqual((await queried(id)).attestation, { type: 'symmetricKey' });
    assert.deepEqual(await mechanism(id), { type: 'symmetricKey', symmetricKey: { primaryKey, secondaryKey } });
  });

  test('keeps the keys it was given', async () => {
    const id = uniqueId('own-keys');
    const symmetricKey = { primaryKey: newKey(16), secondaryKey: newKey(64) };
    const created = await put(withKeys(id, { attestation: { type: 'symmetricKey', symmetricKey } }));
    assert.deepEqual(created.attestation.symmetricKey, symmetricKey);
    assert.deepEqual((await mechanism(id)).symmetricKey, symmetricKey);
  });

  test('is stored as it was written: nothing lost, nothing added', async () => {
    const id = uniqueId('verbatim');
    const written = withKeys(id, {
      deviceId: `${id}-on-hub`,
      capabilities: { iotEdge: true },
      initialTwin: {
        tags: { line: 'north', version: 7, nested: { list: [1, 'two', { three: 3 }] } },
        properties: { desired: { interval: 60, count: 1 } },
      },
      optionalDeviceInformation: { serial: 'A-17', made: { year: 2024 } },
      provisioningStatus: 'enabled',
      reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: false },
      allocationPolicy: 'static',
      iotHubs: [world.hubs['hub-2'].host],
    });
    const created = await put(written);
    for (const member of Object.keys(written)) {
      if (member !== 'attestation') assert.deepEqual(created[member], written[member], member);
    }
    const bare = await put(withKeys(uniqueId('bare')));
    assert.deepEqual(Object.keys(bare).sort(), [
      'attestation', 'createdDateTimeUtc', 'etag', 'lastUpdatedDateTimeUtc', 'registrationId',
    ]);
  });

  test('tells the state of its registration when read alone, and nowhere else', async () => {
    const id = uniqueId('unregistered');
    assert.equal('registrationState' in (await put(withKeys(id))), false);
    const { registrationState } = await get(id);
    assert.deepEqual(registrationState, { registrationId: id, status: 'unassigned' });
    assert.equal('registrationState' in (await queried(id)), false);
  });

  test('is replaced by one who holds its etag, keys and creation date staying', async () => {
    const id = uniqueId('update');
    const created = await put(withKeys(id, { initialTwin: { tags: { a: 1 }, properties: { desired: {} } } }));
    assert.equal(created.createdDateTimeUtc, created.lastUpdatedDateTimeUtc);

    // The client is handed what a read gives: an attestation without keys.
    const read = await get(id);
    const updated = await put({ ...read, provisioningStatus: 'disabled', initialTwin: undefined });
    assert.equal(updated.provisioningStatus, 'disabled');
    assert.equal(updated.initialTwin, undefined, 'a replace takes away what it does not name');
    assert.notEqual(updated.etag, created.etag);
    assert.equal(updated.createdDateTimeUtc, created.createdDateTimeUtc);
    assert.notEqual(updated.lastUpdatedDateTimeUtc, created.lastUpdatedDateTimeUtc);
    assert.deepEqual((await mechanism(id)).symmetricKey, created.attestation.symmetricKey);
  });

  test('is replaced unconditionally by a star', async () => {
    const id = uniqueId('star');
    const created = await put(withKeys(id));
    const updated = await put(withKeys(id, { etag: '*', provisioningStatus: 'disabled' }));
    assert.equal(updated.provisioningStatus, 'disabled');
    assert.notEqual(updated.etag, '*');
    assert.notEqual(updated.etag, created.etag);
  });

  test('shows what is known of its certificates and never the certificates', async () => {
    const id = uniqueId('x509');
    const [primary, secondary] = [leaf(id), leaf(id, undefined, { kind: 'rsa' })];
    const created = await put(withCertificates(id, primary.cert, secondary.cert));
    const shown = [created.attestation, (await get(id)).attestation, (await queried(id)).attestation, await mechanism(id)];
    for (const { type, x509 } of shown) {
      assert.equal(type, 'x509');
      for (const [slot, device] of [['primary', primary], ['secondary', secondary]]) {
        assert.deepEqual(Object.keys(x509.clientCertificates[slot]), ['info']);
        const { info } = x509.clientCertificates[slot];
        assert.equal(info.subjectName, `CN=${id}`);
        assert.equal(info.issuerName, `CN=${id}`);
        assert.equal(info.sha1Thumbprint, sha1(device));
        assert.equal(info.sha256Thumbprint, sha256(device));
        assert.match(info.notBeforeUtc, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
        assert.match(info.notAfterUtc, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
        assert.ok(info.serialNumber);
        assert.equal(info.version, 3);
      }
    }
  });

  test('keeps a certificate of which only the description comes back, and drops an empty slot', async () => {
    const id = uniqueId('roll');
    const [primary, secondary] = [leaf(id), leaf(id)];
    await put(withCertificates(id, primary.cert, secondary.cert));

    const both = await put({ ...(await get(id)), provisioningStatus: 'disabled' });
    assert.equal(both.attestation.x509.clientCertificates.secondary.info.sha256Thumbprint, sha256(secondary));

    const read = await get(id);
    delete read.attestation.x509.clientCertificates.secondary;
    const one = await put(read);
    assert.equal(one.attestation.x509.clientCertificates.primary.info.sha256Thumbprint, sha256(primary));
    assert.equal(one.attestation.x509.clientCertificates.secondary ?? undefined, undefined);
  });

  test('takes a certificate as bare base64 as well', async () => {
    const id = uniqueId('der');
    const device = leaf(id);
    const bare = device.cert.replace(/-----[^-]+-----|\s/g, '');
    const created = await put(withCertificates(id, bare));
    assert.equal(created.attestation.x509.clientCertificates.primary.info.sha256Thumbprint, sha256(device));
  });

  test('shows the endorsement key of a TPM everywhere', async () => {
    const id = uniqueId('tpm');
    const attestation = { type: 'tpm', tpm: { endorsementKey: endorsementKey() } };
    const created = await put({ registrationId: id, attestation });
    const shown = [created.attestation, (await get(id)).attestation, (await queried(id)).attestation, await mechanism(id)];
    for (const { type, tpm } of shown) {
      assert.equal(type, 'tpm');
      assert.equal(tpm.endorsementKey, attestation.tpm.endorsementKey);
    }
  });

  test('is found whatever the letter case of its id, and keeps the case it was given', async () => {
    const id = uniqueId('Line:4.Press_A');
    await put(withKeys(id));
    assert.equal((await get(id.toUpperCase())).registrationId, id);
  });

  test('is deleted with its etag, or without any', async () => {
    const [withEtag, without] = [uniqueId('delete'), uniqueId('delete')];
    const created = await put(withKeys(withEtag));
    await put(withKeys(without));
    await service.deleteIndividualEnrollment(created);
    await service.deleteIndividualEnrollment(without);
    for (const id of [withEtag, without]) {
      await refusedByProvisioning(service.getIndividualEnrollment(id), { as: 'Error', status: 404, code: 404201 });
    }
  });
});

describe('an individual enrollment is refused', () => {
  const bad = (enrollment) =>
    refusedByProvisioning(service.createOrUpdateIndividualEnrollment(enrollment), { as: 'ArgumentError', status: 400 });

  test('when the id is taken and no etag is given', async () => {
    const id = uniqueId('taken');
    await put(withKeys(id));
    await refusedByProvisioning(service.createOrUpdateIndividualEnrollment(withKeys(id)), {
      as: 'DeviceAlreadyExistsError', status: 409, code: 409201,
    });
    await refusedByProvisioning(service.createOrUpdateIndividualEnrollment(withKeys(id.toUpperCase())), {
      as: 'DeviceAlreadyExistsError', status: 409, code: 409201,
    });
  });

  test('when the etag is stale, and nothing changes', async () => {
    const id = uniqueId('stale');
    const created = await put(withKeys(id));
    const updated = await put({ ...created, provisioningStatus: 'disabled' });
    const stale = { ...created, provisioningStatus: 'enabled' };
    await refusedByProvisioning(service.createOrUpdateIndividualEnrollment(stale), { as: 'InvalidEtagError', status: 412 });
    await refusedByProvisioning(service.deleteIndividualEnrollment(id, created.etag), { as: 'InvalidEtagError', status: 412 });
    const now = await get(id);
    assert.equal(now.etag, updated.etag);
    assert.equal(now.provisioningStatus, 'disabled');
  });

  test('when an etag is given and there is no such enrollment', async () => {
    const ghost = withKeys(uniqueId('ghost'), { etag: '*' });
    await refusedByProvisioning(service.createOrUpdateIndividualEnrollment(ghost), { as: 'InvalidEtagError', status: 412 });
  });

  test('when it is missing', async () => {
    const id = uniqueId('missing');
    const missing = { as: 'Error', status: 404, code: 404201 };
    await refusedByProvisioning(service.getIndividualEnrollment(id), missing);
    await refusedByProvisioning(service.getIndividualEnrollmentAttestationMechanism(id), missing);
    await refusedByProvisioning(service.deleteIndividualEnrollment(id), missing);
  });

  test('when the id is not one', async () => {
    for (const id of ['with space', 'ends-with.', 'slash/inside', 'ü', 'x'.repeat(129)]) await bad(withKeys(id));
  });

  test('when its keys are not keys', async () => {
    const keys = (primaryKey, secondaryKey) =>
      withKeys(uniqueId('bad-key'), { attestation: { type: 'symmetricKey', symmetricKey: { primaryKey, secondaryKey } } });
    await bad(keys('not base64!', newKey()));
    await bad(keys(newKey(8), newKey()));
    await bad(keys(newKey(), newKey(65)));
  });

  test('when its certificates are not certificates of a device', async () => {
    const id = uniqueId('bad-cert');
    const device = leaf(id);
    await bad(withCertificates(id, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'));
    await bad(withCertificates(id, device.cert + device.key));
    await bad(withCertificates(id, undefined, undefined));
    const signingCertificates = { primary: { certificate: authority('not for one device').cert } };
    await bad({ registrationId: id, attestation: { type: 'x509', x509: { signingCertificates } } });
  });

  test('when its attestation is missing or of no known kind', async () => {
    await bad({ registrationId: uniqueId('none') });
    await bad({ registrationId: uniqueId('none'), attestation: { type: 'password' } });
  });

  test('when it names hubs and no allocation policy', async () => {
    const enrollment = withKeys(uniqueId('hubs'), { iotHubs: [world.hubs['hub-1'].host] });
    const { body } = await bad(enrollment);
    assert.equal(body.errorCode, 400004);
    assert.match(body.message, /allocationPolicy must be specified when iotHubs are specified/);
  });
});

test('an operator may sign with the secondary key', async () => {
  const secondary = provisioningService(world.provisioning.secondaryConnectionString);
  const id = uniqueId('secondary');
  await secondary.createOrUpdateIndividualEnrollment(withKeys(id));
  assert.equal((await get(id)).registrationId, id);
});

describe('an operator is refused', () => {
  const refused = (connectionString) =>
    refusedByProvisioning(provisioningService(connectionString).getIndividualEnrollment('any'), {
      as: 'UnauthorizedError', status: 401, code: 401002,
    });

  test('with a wrong key', async () => {
    await refused(withMember(world.provisioning.connectionString, 'SharedAccessKey', newKey(32)));
  });

  test('with a policy nobody made', async () => {
    await refused(withMember(world.provisioning.connectionString, 'SharedAccessKeyName', 'nobody'));
  });

  test("with a hub's policy and key", async () => {
    await refused(withMember(world.hubs['hub-1'].connectionString, 'HostName', world.provisioning.host));
  });

  test('with a token that has expired, or is for another place', async () => {
    const { host, connectionString } = world.provisioning;
    const ask = (how) => {
      const sharedAccessSignature = tokenFrom(connectionString, how);
      return new ProvisioningServiceClient({ host, sharedAccessSignature }).getIndividualEnrollment('any');
    };
    const refusal = { as: 'UnauthorizedError', status: 401, code: 401002 };
    await refusedByProvisioning(ask({ lifeSecs: -3600 }), refusal);
    await refusedByProvisioning(ask({ resource: world.hubs['hub-1'].host }), refusal);
    await refusedByProvisioning(ask({ resource: `${host}/enrollmentGroups` }), refusal);
    // The same way of asking, with a good token: only the token was at fault.
    await refusedByProvisioning(ask({}), { as: 'Error', status: 404, code: 404201 });
  });

  test('before it is told whether the thing exists, and nothing is written', async () => {
    const stranger = provisioningService(withMember(world.provisioning.connectionString, 'SharedAccessKey', newKey(32)));
    const id = uniqueId('stranger');
    const refusal = { as: 'UnauthorizedError', status: 401, code: 401002 };
    await refusedByProvisioning(stranger.createOrUpdateIndividualEnrollment(withKeys(id)), refusal);
    await refusedByProvisioning(stranger.deleteIndividualEnrollment(id), refusal);
    await refusedByProvisioning(stranger.getIndividualEnrollmentAttestationMechanism(id), refusal);
    await refusedByProvisioning(stranger.createIndividualEnrollmentQuery({ query: 'SELECT *' }).next(), refusal);
    await refusedByProvisioning(service.getIndividualEnrollment(id), { as: 'Error', status: 404, code: 404201 });
  });
});
