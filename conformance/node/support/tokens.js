'use strict';
// Tokens that a device makes of its own key.

const { SharedAccessSignature } = require('azure-iot-common');

/** `hub` is a place of `world`; `lifeSecs` counts from now. */
function deviceToken(hub, deviceId, key, lifeSecs = 600) {
  const resource = encodeURIComponent(`${hub.host}/devices/${deviceId}`);
  return SharedAccessSignature.create(resource, undefined, key, Math.trunc(Date.now() / 1000) + lifeSecs).toString();
}

module.exports = { deviceToken };
