'use strict';
// Bulk operations on individual enrollments: the answer is 200 with a verdict for each item.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { world, provisioningService, uniqueId, withMember, newKey } = require('./support/world');
const { refusedByProvisioning } = require('./support/refusals');
const { BULK_LIMIT, runBulk, inBulk } = require('./support/bulk');

const service = provisioningService();

function some(count, more = {}) {
  return Array.from({ length: count }, () => ({
    registrationId: uniqueId('bulk'),
    attestation: { type: 'symmetricKey' },
    ...more,
  }));
}

async function read(enrollments) {
  const answers = await Promise.all(enrollments.map(({ registrationId }) => service.getIndividualEnrollment(registrationId)));
  return answers.map(({ responseBody }) => responseBody);
}

/** The operation is answered with one error for each of `failed`, and no other. */
async function failsFor(failed, errorCode, mode, enrollments) {
  const { responseBody, httpResponse } = await runBulk(service, mode, enrollments);
  assert.equal(httpResponse.statusCode, 200);
  assert.equal(responseBody.isSuccessful, false);
  assert.deepEqual(
    responseBody.errors.map(({ registrationId }) => registrationId).sort(),
    failed.map(({ registrationId }) => registrationId).sort(),
  );
  for (const error of responseBody.errors) {
    if (errorCode < 1000) assert.equal(Math.trunc(error.errorCode / 1000), errorCode);
    else assert.equal(error.errorCode, errorCode);
    assert.ok(error.errorStatus);
  }
}

describe('a bulk operation', () => {
  test('creates, and creates again only what is missing', async () => {
    const first = some(3);
    await inBulk(service, 'create', first);
    const second = some(2);
    await failsFor(first, 409201, 'create', [...first, ...second]);
    assert.equal((await read(second)).length, 2);
  });

  test('updates those whose etag it carries', async () => {
    const enrollments = some(2);
    await inBulk(service, 'create', enrollments);
    const before = await read(enrollments);
    await inBulk(service, 'update', before.map((enrollment) => ({ ...enrollment, provisioningStatus: 'disabled' })));
    for (const [n, enrollment] of (await read(enrollments)).entries()) {
      assert.equal(enrollment.provisioningStatus, 'disabled');
      assert.notEqual(enrollment.etag, before[n].etag);
    }
  });

  test('updates nothing that exists when no etag is given', async () => {
    const enrollments = some(2);
    await inBulk(service, 'create', enrollments);
    await failsFor(enrollments, 409201, 'update', enrollments.map((one) => ({ ...one, provisioningStatus: 'disabled' })));
    for (const enrollment of await read(enrollments)) assert.notEqual(enrollment.provisioningStatus, 'disabled');
  });

  test('updates by etag, in the spelling of this client, and refuses a stale one alone', async () => {
    const enrollments = some(2);
    await inBulk(service, 'create', enrollments);
    const [one, two] = await read(enrollments);
    await service.createOrUpdateIndividualEnrollment({ ...two, deviceId: 'moved-on' });
    const changed = [one, two].map((enrollment) => ({ ...enrollment, provisioningStatus: 'disabled' }));
    await failsFor([two], 412, 'updateIfMatchEtag', changed);
    assert.deepEqual((await read(enrollments)).map(({ provisioningStatus }) => provisioningStatus), ['disabled', undefined]);
  });

  test('deletes by id alone, and tells what was not there', async () => {
    const enrollments = some(2);
    await inBulk(service, 'create', enrollments);
    const names = [...enrollments, ...some(1)].map(({ registrationId }) => ({ registrationId }));
    await failsFor(names.slice(2), 404201, 'delete', names);
    for (const { registrationId } of enrollments) {
      await refusedByProvisioning(service.getIndividualEnrollment(registrationId), { as: 'Error', status: 404, code: 404201 });
    }
  });

  test(`takes ${BULK_LIMIT} enrollments and refuses one more as a whole`, async () => {
    await inBulk(service, 'create', some(BULK_LIMIT));
    const tooMany = some(BULK_LIMIT + 1);
    await refusedByProvisioning(runBulk(service, 'create', tooMany), { as: 'ArgumentError', status: 400 });
    await refusedByProvisioning(service.getIndividualEnrollment(tooMany[0].registrationId), {
      as: 'Error', status: 404, code: 404201,
    });
  });

  test('is refused in a mode nobody knows, and to a stranger', async () => {
    await refusedByProvisioning(runBulk(service, 'replace', some(1)), { as: 'ArgumentError', status: 400 });
    const stranger = provisioningService(withMember(world.provisioning.connectionString, 'SharedAccessKey', newKey(32)));
    await refusedByProvisioning(runBulk(stranger, 'create', some(1)), { as: 'UnauthorizedError', status: 401, code: 401002 });
  });
});
