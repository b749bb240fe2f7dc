'use strict';
// A server ends and comes back while devices are connected through `azure-iot-device`, over MQTT
// and over AMQP.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { world } = require('./support/world');
const { control } = require('./support/control');
const { eventually } = require('./support/waiting');
const { TRANSPORTS, openWithKey, listen } = require('./support/connected');
const { operatorsOf } = require('./support/operators');

const { hub, newDevice, stateOf, worksInFull } = operatorsOf(world.restarted.hubs['hub-3']);

test('devices come back after a restart of the server and hear everything', async (t) => {
  const devices = await Promise.all(
    Object.keys(TRANSPORTS).map(async (transport) => {
      const { deviceId, primaryKey } = await newDevice();
      const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
      return { deviceId, client, heard: await listen(client) };
    }),
  );
  const work = (nEvents) =>
    Promise.all(devices.map(({ deviceId, client, heard }) => worksInFull(client, heard, deviceId, nEvents)));
  await work(1);
  for (const { heard } of devices) assert.equal(heard.errors.length, 0);
  const back = devices.map(({ client }) => new Promise((resolve) => client.once('connect', resolve)));
  await control('stop');
  await control('start');
  await Promise.all(back);
  for (const { deviceId } of devices) {
    await eventually(async () => (await stateOf(deviceId)) === 'Connected', 'connected');
  }
  await work(2);
});
