'use strict';
// How a "no" must look to the vendors' clients: the class they throw, and what they hand over.

const assert = require('node:assert/strict');

async function rejectionOf(answer) {
  let value;
  try {
    value = await answer;
  } catch (error) {
    return error;
  }
  return assert.fail(`expected a refusal, got ${JSON.stringify(value?.responseBody ?? value)}`);
}

function describe(error) {
  return `${error.name}: ${error.message} (${error.response?.statusCode}) ${error.responseBody}`;
}

/**
 * The provisioning service declined: a JSON body with `errorCode`, `trackingId`, `message` and
 * `timestampUtc`, where the first three digits of the code are the HTTP status.
 *
 * `as` is the class the client throws: it makes a plain `Error` of a 404, whose text is always
 * "Not found". `code` is the exact code; left out, any code of that status will do.
 */
async function refusedByProvisioning(answer, { as, status, code }) {
  const error = await rejectionOf(answer);
  const told = describe(error);
  assert.equal(error.name, as, told);
  assert.equal(error.response?.statusCode, status, told);
  assert.match(error.response.headers['content-type'], /^application\/json/, told);
  const body = JSON.parse(error.responseBody);
  assert.equal(Math.trunc(body.errorCode / 1000), status, told);
  if (code !== undefined) assert.equal(body.errorCode, code, told);
  assert.ok(body.trackingId, told);
  assert.ok(body.message, told);
  assert.match(body.timestampUtc, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/, told);
  return { error, body };
}

/** As above, to a device: the request can be found in the service's log by its tracking id. */
async function deviceRefused(registration, expected) {
  const { error, body } = await refusedByProvisioning(registration, expected);
  assert.equal(error.response.headers['x-ms-request-id'], body.trackingId, describe(error));
  return body;
}

/**
 * The registration was accepted and settled badly. The client knows two ways to say so: for
 * `failed` its class `DeviceRegistrationFailedError`, which calls itself by another name, and for
 * the rest a `SyntaxError` that names the status.
 */
async function registrationEndsAs(status, registration) {
  const error = await rejectionOf(registration);
  if (status === 'failed') {
    assert.equal(error.name, 'ProvisioningRegistrationFailedError', describe(error));
  } else {
    assert.equal(error.name, 'SyntaxError', describe(error));
    assert.equal(error.message, `status is ${status}`);
  }
  assert.equal(error.response.statusCode, 200);
  assert.equal(error.result.status, status);
  assert.equal(error.result.registrationState.status, status);
  assert.equal(error.result.registrationState.assignedHub, undefined);
  return error.result.registrationState;
}

/**
 * The hub declined: `Message` is `ErrorCode:<name>;<text>`, `ExceptionMessage` carries the
 * tracking id, and the header `iothub-errorcode` repeats the name.
 */
async function refusedByHub(answer, { as, status, code, message }) {
  const error = await rejectionOf(answer);
  const told = describe(error);
  assert.equal(error.name, as, told);
  assert.equal(error.response?.statusCode, status, told);
  const body = JSON.parse(error.responseBody);
  assert.match(body.Message, new RegExp(`^ErrorCode:${code};`), told);
  assert.match(body.ExceptionMessage, /^Tracking ID:[0-9a-f]{32}.*TimeStamp:\d\d\/\d\d\/\d{4} \d\d:\d\d:\d\d$/, told);
  assert.equal(error.response.headers['iothub-errorcode'], code, told);
  if (message) assert.match(error.message, message, told);
  return error;
}

module.exports = { rejectionOf, refusedByProvisioning, deviceRefused, registrationEndsAs, refusedByHub };
