'use strict';
// Devices being provisioned through `azure-iot-provisioning-device-amqp`: `Amqp` on port 5671, and
// `AmqpWs` in WebSockets.

const { describe } = require('node:test');
const assert = require('node:assert/strict');
const { devicesBeingProvisioned } = require('./support/provisioning_scenarios');

// Most of the time is waiting, so the transports wait side by side.
describe('over AMQP', { concurrency: true }, () => {
  devicesBeingProvisioned({
    transports: ['Amqp', 'AmqpWs'],
    // The service rejects the request, and the client hands over that error as it came.
    isRefused(error, errorCode) {
      const condition = { 401: 'amqp:unauthorized-access', 404: 'amqp:not-found' }[Math.trunc(errorCode / 1000)];
      assert.equal(error.condition, condition, `${error}`);
      return JSON.parse(error.description);
    },
  });
});
