'use strict';
// Bulk operations of `azure-iot-provisioning-service`.

const assert = require('node:assert/strict');

/** The service takes this many enrollments in one bulk operation. */
const BULK_LIMIT = 10;

/**
 * One bulk operation. Called without a callback, the client of 1.11.2 never settles the promise
 * it returns, so this gives it one.
 */
function runBulk(service, mode, enrollments) {
  return new Promise((resolve, reject) => {
    service.runBulkEnrollmentOperation({ mode, enrollments }, (error, responseBody, httpResponse) =>
      error ? reject(error) : resolve({ responseBody, httpResponse }),
    );
  });
}

/** Any number of enrollments, all of which must succeed. */
async function inBulk(service, mode, enrollments) {
  for (let from = 0; from < enrollments.length; from += BULK_LIMIT) {
    const { responseBody } = await runBulk(service, mode, enrollments.slice(from, from + BULK_LIMIT));
    assert.deepEqual(responseBody, { errors: [], isSuccessful: true });
  }
}

module.exports = { BULK_LIMIT, runBulk, inBulk };
