'use strict';
// Devices at their hub through `azure-iot-device` with the classes of `azure-iot-device-mqtt`:
// `Mqtt` on port 8883, and `MqttWs` in WebSockets. Operators are `azure-iothub`.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { ExponentialBackOffWithJitter, NoRetry } = require('azure-iot-common');
const { eventually } = require('./support/waiting');
const { OVER_MQTT, openWithKey, listen } = require('./support/connected');
const { devicesAtTheirHub, operators } = require('./support/device_scenarios');

const { hub, newDevice, deeds, change, stateOf, worksInFull } = operators;

// Most of the time is waiting, so the transports wait side by side.
describe('over MQTT', { concurrency: true }, () => {
  devicesAtTheirHub({
    transports: OVER_MQTT,
    dropped: [],
    isKeptOut: (error) => assert.match(`${error}`, /Not authorized/),
    cutOff(client) {
      // Or else it would come back again and again, because it takes CONNACK 5 for a lost connection.
      client.setRetryPolicy(new NoRetry());
      return (reason) => assert.equal(reason.transportObj?.name, 'NotConnectedError');
    },
  });

  for (const transport of OVER_MQTT) {
    test(`a device over ${transport} comes back by itself once it is enabled again`, async (t) => {
      const { deviceId, primaryKey } = await newDevice();
      const client = await openWithKey(t, transport, hub, deviceId, primaryKey);
      const heard = await listen(client);
      const often = new ExponentialBackOffWithJitter();
      often.normalParameters.cMax = 500;
      client.setRetryPolicy(often);
      await deeds.disabled(deviceId);
      await eventually(async () => (await stateOf(deviceId)) === 'Disconnected', 'disconnected');
      const back = once(client, 'connect');
      await change(deviceId, { status: 'enabled' });
      await back;
      await worksInFull(client, heard, deviceId, 1);
      assert.equal(heard.errors.length, 0);
    });
  }
});
