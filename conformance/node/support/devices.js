'use strict';
// A device asking to be provisioned, through the vendors' device client, over the transport that
// `transport` names: HTTPS unless told otherwise.

const { createHmac } = require('node:crypto');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Amqp, AmqpWs } = require('azure-iot-provisioning-device-amqp');
const { Http } = require('azure-iot-provisioning-device-http');
const { Mqtt, MqttWs } = require('azure-iot-provisioning-device-mqtt');
const { SymmetricKeySecurityClient } = require('azure-iot-security-symmetric-key');
const { X509Security } = require('azure-iot-security-x509');
const { world } = require('./world');

const TRANSPORTS = { Http, Mqtt, MqttWs, Amqp, AmqpWs };

function register(security, { idScope = world.idScope, payload, transport = 'Http' } = {}) {
  const client = ProvisioningDeviceClient.create(world.provisioning.host, idScope, new TRANSPORTS[transport](), security);
  if (payload !== undefined) client.setProvisioningPayload(payload);
  return client.register();
}

function registerWithKey(registrationId, key, how) {
  return register(new SymmetricKeySecurityClient(registrationId, key), how);
}

/** `credentials` is `{cert, key}`; `cert` holds the whole chain the device presents. */
function registerWithCertificate(registrationId, credentials, how) {
  return register(new X509Security(registrationId, credentials), how);
}

/** The key of one device of a symmetric-key group. */
function derivedKey(groupKey, registrationId) {
  return createHmac('sha256', Buffer.from(groupKey, 'base64')).update(registrationId, 'utf8').digest('base64');
}

module.exports = { registerWithKey, registerWithCertificate, derivedKey };
