'use strict';
// A TPM 2.0 in software, Debian's `swtpm`, and the vendors' clients of a device that has it.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { promisify } = require('node:util');
const { Client } = require('azure-iot-device');
const { ProvisioningDeviceClient } = require('azure-iot-provisioning-device');
const { Amqp, AmqpWs } = require('azure-iot-provisioning-device-amqp');
const { Http } = require('azure-iot-provisioning-device-http');
const { TpmAuthenticationProvider, TpmSecurityClient } = require('azure-iot-security-tpm');
const { NullPwSession, Tpm, TPM_HANDLE, TPM_RH } = require('tss.js');
const { world } = require('./world');
const { Channel, bridge } = require('./tpm_bridge');
const { TRANSPORTS, opened } = require('./connected');

/** What a TPM can be provisioned over. The vendor's service has no TPMs over MQTT either. */
const PROVISIONED_OVER = { Http, Amqp, AmqpWs };

class SoftwareTpm {
  #folder = mkdtempSync(join(tmpdir(), 'conformance-tpm-'));
  #process;
  #channel;
  #bridge;
  #connections = [];

  /** A new one, without any key, for as long as the test runs. */
  static async start(t) {
    const tpm = new SoftwareTpm();
    t.after(() => tpm.#end());
    tpm.#bridge = await bridge(() => tpm.#channel);
    tpm.#powerOn();
    return tpm;
  }

  #powerOn() {
    const state = ['--tpmstate', `dir=${this.#folder}`, '--flags', 'not-need-init'];
    // The fourth of its files is one end of a pair of sockets. When ours is closed, swtpm ends.
    const stdio = ['ignore', 'inherit', 'inherit', 'pipe'];
    this.#process = spawn('swtpm', ['socket', '--tpm2', '--fd', '3', ...state], { stdio });
    this.#channel = new Channel(this.#process.stdio[3]);
  }

  async #powerOff() {
    const ended = once(this.#process, 'exit');
    this.#process.stdio[3].end();
    await ended;
  }

  /** Takes away all that is not persistent in it, and every application's connection. */
  async cutPower() {
    this.#connections.splice(0).forEach((connection) => connection.close());
    await this.#powerOff();
    this.#powerOn();
  }

  /**
   * Gives the TPM to a new owner, as its lockout authority may: whatever is kept in it is gone, and
   * so is the seed of its storage root key. Its endorsement key comes back the same.
   */
  async clear() {
    const connection = this.#connect();
    await promisify(connection.connect.bind(connection))();
    const authorized = connection.withSession(NullPwSession);
    await promisify(authorized.Clear.bind(authorized))(new TPM_HANDLE(TPM_RH.LOCKOUT));
  }

  #connect() {
    const connection = new Tpm(true, '127.0.0.1', this.#bridge.port);
    this.#connections.push(connection);
    return connection;
  }

  async #end() {
    this.#connections.forEach((connection) => connection.close());
    this.#bridge?.close();
    if (this.#process) await this.#powerOff();
    rmSync(this.#folder, { recursive: true });
  }

  /** The client as an application has it that was just started. */
  securityClient(registrationId) {
    return new TpmSecurityClient(registrationId, this.#connect());
  }
}

/** Runs one of the client's calls, which take callbacks. */
function ask(security, call, ...given) {
  return promisify(security[call].bind(security))(...given);
}

/** What an enrollment has to know of a TPM, in base64. */
async function keysOf(security) {
  const [endorsementKey, storageRootKey] = [await ask(security, 'getEndorsementKey'), await ask(security, 'getStorageRootKey')];
  return { endorsementKey: endorsementKey.toString('base64'), storageRootKey: storageRootKey.toString('base64') };
}

/** What the device is told at the end of its registration: `{registrationState, …}`. */
async function register(t, security, { transport = 'Http', idScope = world.idScope } = {}) {
  const door = new PROVISIONED_OVER[transport]();
  // After a refusal the client leaves its connection open.
  t.after(() => promisify(door.disconnect.bind(door))());
  return ProvisioningDeviceClient.create(world.provisioning.host, idScope, door, security).register();
}

/** Connects the device to its hub with tokens that its TPM signs. */
function openWithTpm(t, transport, { assignedHub, deviceId }, security) {
  const provider = TpmAuthenticationProvider.fromTpmSecurityClient(deviceId, assignedHub, security);
  return opened(t, Client.fromAuthenticationProvider(provider, TRANSPORTS[transport]));
}

module.exports = { PROVISIONED_OVER, SoftwareTpm, ask, keysOf, register, openWithTpm };
