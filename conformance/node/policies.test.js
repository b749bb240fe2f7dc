'use strict';
// `azure-iot-provisioning-service` with a policy that may only read, made through the management
// API: it reads, and is refused every write.

const { test, describe, before, after } = require('node:test');
const assert = require('node:assert/strict');
const { request } = require('node:https');
const { once } = require('node:events');
const { world, provisioningService, uniqueId, newKey, tokenFrom } = require('./support/world');
const { refusedByProvisioning } = require('./support/refusals');
const { runBulk } = require('./support/bulk');
const { pagesOf } = require('./support/pages');

const service = provisioningService();
/** The policy is known, and its key fits: it lacks the right. */
const unauthorized = { as: 'UnauthorizedError', status: 401, code: 401003 };
const missing = { as: 'Error', status: 404, code: 404201 };

/** One request to the management API, signed by the given connection string. */
async function manage(method, path, body, connectionString = world.provisioning.connectionString) {
  const headers = { authorization: tokenFrom(connectionString), 'content-type': 'application/json' };
  const asking = request({ host: world.provisioning.host, method, path, headers });
  asking.end(body && JSON.stringify(body));
  const [response] = await once(asking, 'response');
  response.resume();
  await once(response, 'end');
  return response.statusCode;
}

/** Makes a policy with these rights. Gives its connection string. */
async function makePolicy(name, rights) {
  const [primaryKey, secondaryKey] = [newKey(32), newKey(32)];
  assert.equal(await manage('PUT', `/induct/v1/policies/${name}`, { rights, primaryKey, secondaryKey }), 200);
  return `HostName=${world.provisioning.host};SharedAccessKeyName=${name};SharedAccessKey=${primaryKey}`;
}

const withKeys = (name) => ({ ...name, attestation: { type: 'symmetricKey' } });

describe('a policy that may only read enrollments', () => {
  const name = uniqueId('reader');
  const registrationId = uniqueId('read-only');
  const enrollmentGroupId = uniqueId('read-only-line');
  let connectionString, reader, enrollment, group;

  before(async () => {
    connectionString = await makePolicy(name, 'EnrollmentRead');
    reader = provisioningService(connectionString);
    enrollment = (await service.createOrUpdateIndividualEnrollment(withKeys({ registrationId }))).responseBody;
    group = (await service.createOrUpdateEnrollmentGroup(withKeys({ enrollmentGroupId }))).responseBody;
  });

  after(async () => {
    assert.equal(await manage('DELETE', `/induct/v1/policies/${name}`), 204);
  });

  test('reads enrollments and groups, and queries them', async () => {
    assert.equal((await reader.getIndividualEnrollment(registrationId)).responseBody.etag, enrollment.etag);
    assert.equal((await reader.getEnrollmentGroup(enrollmentGroupId)).responseBody.etag, group.etag);
    const enrollments = reader.createIndividualEnrollmentQuery({ query: 'SELECT * FROM enrollments' }, 100);
    assert.ok((await pagesOf(enrollments, 'Enrollment')).flat().some((one) => one.registrationId === registrationId));
    const groups = reader.createEnrollmentGroupQuery({ query: 'SELECT * FROM enrollmentGroups' }, 100);
    assert.ok((await pagesOf(groups, 'EnrollmentGroup')).flat().some((one) => one.enrollmentGroupId === enrollmentGroupId));
  });

  test('is refused every write, and nothing is written', async () => {
    const [newId, newGroupId] = [uniqueId('read-only'), uniqueId('read-only-line')];
    for (const write of [
      () => reader.createOrUpdateIndividualEnrollment(withKeys({ registrationId: newId })),
      () => reader.createOrUpdateIndividualEnrollment({ ...enrollment, provisioningStatus: 'disabled' }),
      () => reader.deleteIndividualEnrollment(registrationId),
      () => reader.createOrUpdateEnrollmentGroup(withKeys({ enrollmentGroupId: newGroupId })),
      () => reader.createOrUpdateEnrollmentGroup({ ...group, provisioningStatus: 'disabled' }),
      () => reader.deleteEnrollmentGroup(enrollmentGroupId),
      () => runBulk(reader, 'create', [withKeys({ registrationId: newId })]),
      () => runBulk(reader, 'delete', [{ registrationId }]),
      () => reader.deleteDeviceRegistrationState(registrationId),
    ]) {
      await refusedByProvisioning(write(), unauthorized);
    }
    assert.equal((await service.getIndividualEnrollment(registrationId)).responseBody.etag, enrollment.etag);
    assert.equal((await service.getEnrollmentGroup(enrollmentGroupId)).responseBody.etag, group.etag);
    await refusedByProvisioning(service.getIndividualEnrollment(newId), missing);
    await refusedByProvisioning(service.getEnrollmentGroup(newGroupId), { as: 'Error', status: 404 });
  });

  test('is shown no keys, no registrations and no policies', async () => {
    await refusedByProvisioning(reader.getIndividualEnrollmentAttestationMechanism(registrationId), unauthorized);
    await refusedByProvisioning(reader.getEnrollmentGroupAttestationMechanism(enrollmentGroupId), unauthorized);
    await refusedByProvisioning(reader.getDeviceRegistrationState(registrationId), unauthorized);
    assert.equal(await manage('GET', '/induct/v1/policies', undefined, connectionString), 401);
    const path = `/induct/v1/policies/${uniqueId('policy')}`;
    assert.equal(await manage('PUT', path, { rights: 'EnrollmentWrite' }, connectionString), 401);
  });
});
