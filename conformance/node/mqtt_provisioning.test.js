'use strict';
// Devices being provisioned through `azure-iot-provisioning-device-mqtt`: `Mqtt` on port 8883, and
// `MqttWs` in WebSockets.

const { describe } = require('node:test');
const assert = require('node:assert/strict');
const { devicesBeingProvisioned } = require('./support/provisioning_scenarios');

// Most of the time is waiting, so the transports wait side by side.
describe('over MQTT', { concurrency: true }, () => {
  devicesBeingProvisioned({
    transports: ['Mqtt', 'MqttWs'],
    // The service says no in an answer: the client makes a class of the status.
    isRefused(error, errorCode) {
      const name = { 401: 'UnauthorizedError', 404: 'DeviceNotFoundError' }[Math.trunc(errorCode / 1000)];
      assert.equal(error.name, name, `${error}`);
      return error.result;
    },
  });
});
