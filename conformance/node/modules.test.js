'use strict';
// Modules at their hub: `ModuleClient` of `azure-iot-device` with the classes of
// `azure-iot-device-mqtt` and `azure-iot-device-amqp`. Operators are `azure-iothub`.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { NoRetry } = require('azure-iot-common');
const { Message, ModuleClient, SharedAccessKeyAuthenticationProvider } = require('azure-iot-device');
const { Client: ServiceClient } = require('azure-iothub');
const { world, uniqueId, newKey } = require('./support/world');
const { rejectionOf } = require('./support/refusals');
const { eventually, Queue } = require('./support/waiting');
const { TRANSPORTS, OVER_MQTT, OVER_AMQP, opened, openWithKey, patchOf, report } = require('./support/connected');
const { moduleEventsOf, eventsOf } = require('./support/rest');
const { operatorsOf } = require('./support/operators');

const { hub, registry, newDevice, deeds } = operatorsOf(world.hubs['hub-1']);
const service = ServiceClient.fromConnectionString(hub.connectionString);

/** The contract is 20 seconds; the server's own aim is one. */
const CUT_OFF_MS = 5_000;

function stringOf({ deviceId, moduleId, primaryKey }) {
  return `HostName=${hub.host};DeviceId=${deviceId};ModuleId=${moduleId};SharedAccessKey=${primaryKey}`;
}

/** A device with a module; `deviceKey` is the device's own. */
async function newModule(moduleId = uniqueId('eye')) {
  const { deviceId, primaryKey: deviceKey } = await newDevice();
  return { ...(await addModule(deviceId, moduleId)), deviceKey };
}

async function addModule(deviceId, moduleId) {
  const [primaryKey, secondaryKey] = [newKey(), newKey()];
  await registry.addModule({ deviceId, moduleId, authentication: { symmetricKey: { primaryKey, secondaryKey } } });
  return { deviceId, moduleId, primaryKey };
}

function openModule(t, transport, module) {
  return opened(t, ModuleClient.fromConnectionString(stringOf(module), TRANSPORTS[transport]));
}

async function desire({ deviceId, moduleId }, desired) {
  const { responseBody } = await registry.updateModuleTwin(deviceId, moduleId, { properties: { desired } }, '*');
  return responseBody.properties.desired.$version;
}

async function invoke({ deviceId, moduleId }, payload) {
  const method = { methodName: 'reboot', payload, responseTimeoutInSeconds: 10 };
  return (await service.invokeDeviceMethod(deviceId, moduleId, method)).result;
}

async function stateOf({ deviceId, moduleId }) {
  return (await registry.getModuleTwin(deviceId, moduleId)).responseBody.connectionState;
}

/** Subscribes to all that a hub sends to a module, its inputs too, which nobody sends to here. */
async function listen(client) {
  const heard = { patches: new Queue(), calls: new Queue(), inputs: new Queue(), errors: new Queue() };
  client.on('error', (error) => heard.errors.put(error));
  client.on('inputMessage', (name, message) => heard.inputs.put({ name, message }));
  client.onMethod('reboot', (request, response) => {
    heard.calls.put(request);
    response.send(207, { got: request.payload }, (error) => error && heard.errors.put(error));
  });
  const twin = await client.getTwin();
  twin.on('error', (error) => heard.errors.put(error));
  twin.on('properties.desired', (patch) => heard.patches.put({ ...patch }));
  // None of the above says when it is subscribed. All of it is once the hub answers a later request.
  await client.getTwin();
  return { ...heard, twin };
}

/** Everything a module can do, on a client that listens already. */
async function worksInFull(client, heard, module, nEvents) {
  await client.sendEvent(new Message(`again ${nEvents}`));
  await moduleEventsOf(hub, module, nEvents);
  await report(heard.twin, { n: nEvents });
  assert.equal((await client.getTwin()).properties.reported.n, nEvents);
  assert.deepEqual(await invoke(module, { in: [1, null] }), { status: 207, payload: { got: { in: [1, null] } } });
  const version = await desire(module, { n: nEvents });
  assert.deepEqual(await patchOf(heard, version), { n: nEvents, $version: version });
  assert.deepEqual([heard.inputs.length, heard.errors.length], [0, 0]);
}

// Most of the time is waiting, so the transports wait side by side.
describe('a module at its hub', { concurrency: true }, () => {
  for (const transport of [...OVER_MQTT, ...OVER_AMQP]) {
    const overAmqp = OVER_AMQP.includes(transport);
    // The classes that a client makes of a refusal.
    const isKeptOut = (error) => assert.match(`${error.name} ${error}`, /Not authorized|UnauthorizedError|DeviceNotFoundError/);

    describe(`over ${transport}`, { concurrency: 8 }, () => {
      test('sends events that name it beside its device', async (t) => {
        const module = await newModule();
        const client = await openModule(t, transport, module);
        const message = new Message(JSON.stringify({ t: 21.5 }));
        Object.assign(message, { messageId: 'm/1', contentType: 'application/json', contentEncoding: 'utf-8' });
        message.properties.add('a b/c', '50% = ½ & +');
        await client.sendEvent(message);
        await client.sendOutputEvent('out', new Message('from an output'));
        const [rich, output] = await moduleEventsOf(hub, module, 2);
        for (const event of [rich, output]) assert.deepEqual([event.deviceId, event.moduleId], [module.deviceId, module.moduleId]);
        assert.deepEqual(rich.body, { t: 21.5 });
        assert.equal(rich.properties.messageId, 'm/1');
        assert.deepEqual(rich.applicationProperties, { 'a b/c': '50% = ½ & +' });
        assert.equal(output.properties.outputName, 'out');
        assert.deepEqual(output.applicationProperties, {});
      });

      test('reads, reports and hears of its twin, and answers methods', async (t) => {
        const module = await newModule();
        await desire(module, { interval: 60 });
        const client = await openModule(t, transport, module);
        assert.deepEqual((await client.getTwin()).properties.desired, { interval: 60, $version: 2 });
        const heard = await listen(client);
        await worksInFull(client, heard, module, 1);
        // None of it is its device's.
        const { responseBody: ofDevice } = await registry.getTwin(module.deviceId);
        assert.deepEqual([ofDevice.properties.desired.$version, ofDevice.properties.reported.$version], [1, 1]);
        assert.equal(ofDevice.connectionState, 'Disconnected');
        assert.equal(await stateOf(module), 'Connected');
        await client.close();
        await eventually(async () => (await stateOf(module)) === 'Disconnected', 'disconnected');
        const error = await rejectionOf(invoke(module, 1));
        assert.equal(error.response.headers['iothub-errorcode'], 'DeviceNotOnline');
      });

      test('renews its token without subscribing again', async (t) => {
        const module = await newModule();
        const keys = SharedAccessKeyAuthenticationProvider.fromConnectionString(stringOf(module));
        const client = await opened(t, ModuleClient.fromAuthenticationProvider(keys, TRANSPORTS[transport]));
        const heard = await listen(client);
        const renewals = new Queue();
        keys.on('newTokenAvailable', () => renewals.put(true));
        // A life of 4 s from now on, renewed after 2: when the third comes, the first is at its end.
        keys.setTokenRenewalValues(4, 2);
        for (const nth of ['first', 'second', 'third']) await renewals.next(`a ${nth} renewal`);
        keys.setTokenRenewalValues(3600, 900);
        await worksInFull(client, heard, module, 1);
      });

      test("is not let in with its device's key, or with another module's", async (t) => {
        const module = await newModule();
        const other = await addModule(module.deviceId, uniqueId('ear'));
        for (const primaryKey of [module.deviceKey, other.primaryKey, newKey()]) {
          isKeptOut(await rejectionOf(openModule(t, transport, { ...module, primaryKey })));
        }
        isKeptOut(await rejectionOf(openModule(t, transport, { ...module, moduleId: uniqueId('nobody') })));
        assert.equal(await stateOf(module), 'Disconnected');
      });

      for (const [name, deed] of Object.entries({
        'its device is disabled': ({ deviceId }) => deeds.disabled(deviceId),
        'its device is deleted': ({ deviceId }) => deeds.deleted(deviceId),
        'it is deleted': ({ deviceId, moduleId }) => registry.removeModule(deviceId, moduleId),
      })) {
        test(`is cut off when ${name}, and kept out`, async (t) => {
          const module = await newModule();
          const client = await openModule(t, transport, module);
          const heard = await listen(client);
          await worksInFull(client, heard, module, 1);
          // Or else it would come back again and again over MQTT: it takes CONNACK 5 for a lost connection.
          if (!overAmqp) client.setRetryPolicy(new NoRetry());
          const disconnected = once(client, 'disconnect');
          const began = Date.now();
          await deed(module);
          const [reason] = await disconnected;
          assert.ok(Date.now() - began < CUT_OFF_MS, `told after ${Date.now() - began} ms`);
          if (overAmqp) assert.equal(reason.transportObj.amqpError.condition, 'amqp:not-found');
          isKeptOut(await rejectionOf(client.open()));
        });
      }

      test('outlives new keys of its device, and its neighbours outlive it', async (t) => {
        const module = await newModule();
        const neighbour = await addModule(module.deviceId, uniqueId('ear'));
        const device = await openWithKey(t, transport, hub, module.deviceId, module.deviceKey);
        const [client, other] = [await openModule(t, transport, module), await openModule(t, transport, neighbour)];
        const [heard, heardByOther] = [await listen(client), await listen(other)];
        // Who is about to be cut off is not to come back again and again.
        for (const doomed of [device, other]) {
          doomed.on('error', () => {});
          doomed.setRetryPolicy(new NoRetry());
        }
        await registry.removeModule(neighbour.deviceId, neighbour.moduleId);
        await eventually(() => registry.getModulesOnDevice(module.deviceId).then(({ responseBody }) => responseBody.length === 1), 'one module');
        await worksInFull(client, heard, module, 1);
        await device.sendEvent(new Message('of the device'));
        const own = (await eventsOf(hub, module.deviceId, 2)).filter(({ moduleId }) => moduleId === undefined);
        assert.equal(own.length, 1);
        await deeds['given other keys'](module.deviceId);
        await worksInFull(client, heard, module, 2);
        assert.equal(heardByOther.calls.length, 0);
      });
    });
  }
});
