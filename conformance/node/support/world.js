'use strict';
// Where the server under test is, and the vendors' clients pointed at it.
//
// `conformance/run` starts the server and describes it in a JSON file; nothing here knows how.
// The clients are the published packages as they are: no option of theirs is set beyond the
// connection string, and the certificate authority reaches them through NODE_EXTRA_CA_CERTS.

const { readFileSync } = require('node:fs');
const { createHmac, randomBytes } = require('node:crypto');
const { ProvisioningServiceClient } = require('azure-iot-provisioning-service');
const { Registry } = require('azure-iothub');

function readWorld() {
  const path = process.env.CONFORMANCE_WORLD;
  if (!path) {
    throw new Error('CONFORMANCE_WORLD is not set: start this suite with `conformance/run`');
  }
  return JSON.parse(readFileSync(path, 'utf8'));
}

/**
 * `{idScope, provisioning: PLACE, hubs: {name: PLACE}}`, where a PLACE is
 * `{host, connectionString, secondaryConnectionString, policies: {name: connectionString}}`.
 */
const world = readWorld();

function provisioningService(connectionString = world.provisioning.connectionString) {
  return ProvisioningServiceClient.fromConnectionString(connectionString);
}

/** The registry of a hub, by the hub's name (`hub-1`) or its host name. */
function registryOf(hub) {
  const found = world.hubs[hub] ?? Object.values(world.hubs).find(({ host }) => host === hub);
  if (!found) {
    throw new Error(`no hub \`${hub}\` among ${Object.keys(world.hubs).join(', ')}`);
  }
  return Registry.fromConnectionString(found.connectionString);
}

function hostOf(hub) {
  return world.hubs[hub].host;
}

/** An id nobody else in any suite uses. */
function uniqueId(prefix) {
  return `${prefix}-${randomBytes(5).toString('hex')}`;
}

/** The same connection string with one member changed, for the refusals. */
function withMember(connectionString, name, value) {
  return connectionString
    .split(';')
    .map((pair) => (pair.startsWith(`${name}=`) ? `${name}=${value}` : pair))
    .join(';');
}

/**
 * A token made from a connection string, for the clients that take one ready-made. `lifeSecs` may
 * be negative, and `resource` other than the connection string's host.
 */
function tokenFrom(connectionString, { lifeSecs = 600, resource } = {}) {
  const member = (name) => connectionString.split(';').find((pair) => pair.startsWith(`${name}=`)).slice(name.length + 1);
  const sr = encodeURIComponent(resource ?? member('HostName'));
  const se = Math.trunc(Date.now() / 1000) + lifeSecs;
  const key = Buffer.from(member('SharedAccessKey'), 'base64');
  const sig = encodeURIComponent(createHmac('sha256', key).update(`${sr}\n${se}`).digest('base64'));
  return `SharedAccessSignature sr=${sr}&sig=${sig}&se=${se}&skn=${member('SharedAccessKeyName')}`;
}

function newKey(bytes = 64) {
  return randomBytes(bytes).toString('base64');
}

module.exports = { world, provisioningService, registryOf, hostOf, uniqueId, withMember, tokenFrom, newKey };
