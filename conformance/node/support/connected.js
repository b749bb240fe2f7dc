'use strict';
// Devices at their hub, through `azure-iot-device` over MQTT and AMQP, on their ports and in WebSockets.

const { readFileSync } = require('node:fs');
const { Client } = require('azure-iot-device');
const { Amqp, AmqpWs } = require('azure-iot-device-amqp');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');
const { world } = require('./world');
const { Queue } = require('./waiting');

const TRANSPORTS = { Mqtt, MqttWs, Amqp, AmqpWs };
const OVER_MQTT = ['Mqtt', 'MqttWs'];
const OVER_AMQP = ['Amqp', 'AmqpWs'];

function stringOf(hub, deviceId, key) {
  return `HostName=${hub.host};DeviceId=${deviceId};SharedAccessKey=${key}`;
}

/** The client, told whom to trust and then connected, until the test is over. */
async function opened(t, client) {
  t.after(async () => {
    await client.close();
    // What it was about to try again, it tries when it is closed, too, and is connected once more.
    client.on('connect', () => setImmediate(() => client.close()));
  });
  await client.setOptions({ ca: readFileSync(world.authority, 'utf8') });
  await client.open();
  return client;
}

function openWithKey(t, transport, hub, deviceId, key) {
  return opened(t, Client.fromConnectionString(stringOf(hub, deviceId, key), TRANSPORTS[transport]));
}

/** `credentials` is `{cert, key}`. */
async function openWithCertificate(t, transport, hub, deviceId, credentials) {
  const client = Client.fromConnectionString(`HostName=${hub.host};DeviceId=${deviceId};x509=true`, TRANSPORTS[transport]);
  await client.setOptions(credentials);
  return opened(t, client);
}

/**
 * Subscribes to all a hub sends on its own account, and keeps it: messages are completed, methods
 * answered with what they were asked.
 */
async function listen(client) {
  const heard = { messages: new Queue(), patches: new Queue(), calls: new Queue(), errors: new Queue() };
  client.on('error', (error) => heard.errors.put(error));
  client.onDeviceMethod('reboot', (request, response) => {
    heard.calls.put(request);
    response.send(207, { method: request.methodName, got: request.payload }, (error) => error && heard.errors.put(error));
  });
  client.on('message', (message) => {
    heard.messages.put(message);
    client.complete(message, (error) => error && heard.errors.put(error));
  });
  const twin = await client.getTwin();
  twin.on('error', (error) => heard.errors.put(error));
  twin.on('properties.desired', (patch) => heard.patches.put({ ...patch }));
  // None of the above says when it is subscribed. All of it is once the hub answers a later request.
  await client.getTwin();
  return { ...heard, twin };
}

/** The change that made this version. The client shows the whole section at other times. */
async function patchOf(heard, version) {
  for (;;) {
    const patch = await heard.patches.next(`version ${version} of the desired properties`);
    if (patch.$version === version && !('kept' in patch)) return patch;
  }
}

/** What `update` of a twin's reported properties becomes. */
function report(twin, patch) {
  return new Promise((resolve, reject) => {
    twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve()));
  });
}

module.exports = {
  TRANSPORTS,
  OVER_MQTT,
  OVER_AMQP,
  stringOf,
  opened,
  openWithKey,
  openWithCertificate,
  listen,
  patchOf,
  report,
};
