'use strict';
// What the vendors' packages have no call for over HTTPS: the log of events, messages to devices.

const assert = require('node:assert/strict');
const { world, tokenFrom } = require('./world');
const { LIMIT_MS } = require('./waiting');

/** Calls one of the places of `world`, with the policy that may do everything there. */
async function call(place, method, path, body) {
  const answer = await fetch(`https://${place.host}${path}`, {
    method,
    headers: { Authorization: tokenFrom(place.connectionString), 'Content-Type': 'application/json' },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(LIMIT_MS),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
}

/** Makes a CA known whose devices may connect to every hub. */
function uploadAuthority(name, { cert }) {
  return call(world.provisioning, 'PUT', `/induct/v1/certificates/${name}`, { certificate: cert, isVerified: true });
}

/** Puts a message into a device's queue. */
function sendMessage(hub, deviceId, message) {
  return call(hub, 'POST', `/induct/v1/devices/${deviceId}/messages`, message);
}

/** All events of a device, once there are `n`; there must not be more. Those of its modules count. */
function eventsOf(hub, deviceId, n) {
  return eventsThat(hub, deviceId, () => true, n);
}

/** All events of a module, once there are `n`; there must not be more. */
function moduleEventsOf(hub, { deviceId, moduleId }, n) {
  return eventsThat(hub, deviceId, (event) => event.moduleId === moduleId, n);
}

async function eventsThat(hub, deviceId, isMeant, n) {
  const until = Date.now() + LIMIT_MS;
  const page = (query) => call(hub, 'GET', `/induct/v1/events?${new URLSearchParams({ deviceId, ...query })}`);
  const found = [];
  let query = { from: 'earliest' };
  while (found.length < n) {
    assert.ok(Date.now() < until, `${found.length} events of ${deviceId} instead of ${n}`);
    const { events, cursor } = await page({ ...query, wait: 5 });
    found.push(...events.filter(isMeant));
    query = { cursor };
  }
  found.push(...(await page(query)).events.filter(isMeant));
  assert.equal(found.length, n, JSON.stringify(found));
  return found;
}

module.exports = { uploadAuthority, sendMessage, eventsOf, moduleEventsOf };
