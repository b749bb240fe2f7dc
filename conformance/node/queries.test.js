'use strict';
// Page by page through every enrollment with `azure-iot-provisioning-service`.

const { test, describe, before, after } = require('node:test');
const assert = require('node:assert/strict');
const { provisioningService, uniqueId } = require('./support/world');
const { refusedByProvisioning } = require('./support/refusals');
const { inBulk } = require('./support/bulk');
const { nextPage, pagesOf } = require('./support/pages');

const service = provisioningService();
const N_ENROLLMENTS = 130;
const prefix = uniqueId('page');
const ids = Array.from({ length: N_ENROLLMENTS }, (_, n) => `${prefix}-${n}`);

before(async () => {
  const enrollments = ids.map((registrationId) => ({ registrationId, attestation: { type: 'symmetricKey' } }));
  await inBulk(service, 'create', enrollments);
});

after(async () => {
  await inBulk(service, 'delete', ids.map((registrationId) => ({ registrationId })));
});

function individuals(pageSize, query = 'SELECT * FROM enrollments') {
  return service.createIndividualEnrollmentQuery({ query }, pageSize);
}

function mine(pages) {
  return pages.flat().map(({ registrationId }) => registrationId).filter((id) => id.startsWith(prefix));
}

describe('a query', () => {
  test('shows every enrollment once, in pages of the size asked for', async () => {
    const pages = await pagesOf(individuals(50), 'Enrollment');
    for (const page of pages.slice(0, -1)) assert.equal(page.length, 50);
    assert.ok(pages.at(-1).length <= 50);
    assert.deepEqual(mine(pages).sort(), [...ids].sort());
    const all = pages.flat().map(({ registrationId }) => registrationId);
    assert.equal(new Set(all).size, all.length);
  });

  test('has pages of 100 when no size is asked for', async () => {
    const first = individuals();
    assert.equal((await nextPage(first, 'Enrollment')).length, 100);
    assert.equal(first.hasMoreResults, true);
    assert.equal(typeof first.continuationToken, 'string');
  });

  test('goes on from a token in another client, with another page size', async () => {
    const first = individuals(100);
    const shown = await nextPage(first, 'Enrollment');
    const second = provisioningService().createIndividualEnrollmentQuery({ query: 'SELECT * FROM enrollments' }, 7);
    const { responseBody: more } = await second.next(first.continuationToken);
    assert.equal(more.length, 7);
    const seen = new Set(shown.map(({ registrationId }) => registrationId));
    assert.deepEqual(more.filter(({ registrationId }) => seen.has(registrationId)), []);
  });

  test('misses nothing when what was shown last is deleted before it goes on', async () => {
    const gone = uniqueId('page-gone');
    await service.createOrUpdateIndividualEnrollment({ registrationId: gone, attestation: { type: 'symmetricKey' } });
    const query = individuals(20);
    const pages = [await nextPage(query, 'Enrollment')];
    while (!pages.flat().some(({ registrationId }) => registrationId === gone)) {
      assert.ok(query.hasMoreResults);
      pages.push(await nextPage(query, 'Enrollment'));
    }
    await service.deleteIndividualEnrollment(gone);
    pages.push(...(await pagesOf(query, 'Enrollment')));
    assert.deepEqual(mine(pages).sort(), [...ids].sort());
  });

  test('shows no keys and no registration state', async () => {
    for (const enrollment of (await pagesOf(individuals(500), 'Enrollment')).flat()) {
      assert.equal(enrollment.attestation.symmetricKey, undefined);
      assert.equal('registrationState' in enrollment, false);
      assert.ok(enrollment.etag);
    }
  });

  test('answers everything, whatever its text', async () => {
    for (const text of ['SELECT *', 'select *', '*', '', "{'additional_properties': {}, 'query': 'SELECT *'}"]) {
      assert.deepEqual(mine(await pagesOf(individuals(100, text), 'Enrollment')).sort(), [...ids].sort(), text);
    }
  });

  test('is refused with a token nobody gave', async () => {
    await refusedByProvisioning(individuals(10).next('no such token'), { as: 'ArgumentError', status: 400 });
  });
});

describe('a query of enrollment groups', () => {
  test('goes page by page too', async () => {
    const groups = Array.from({ length: 5 }, (_, n) => `${prefix}-group-${n}`);
    for (const enrollmentGroupId of groups) {
      await service.createOrUpdateEnrollmentGroup({ enrollmentGroupId, attestation: { type: 'symmetricKey' } });
    }
    const query = service.createEnrollmentGroupQuery({ query: 'SELECT * FROM enrollmentGroups' }, 2);
    const pages = await pagesOf(query, 'EnrollmentGroup');
    for (const page of pages) assert.ok(page.length <= 2);
    const found = pages.flat().map(({ enrollmentGroupId }) => enrollmentGroupId).filter((id) => id.startsWith(prefix));
    assert.deepEqual(found.sort(), groups);
    for (const id of groups) await service.deleteEnrollmentGroup(id);
  });
});
