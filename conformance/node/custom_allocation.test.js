'use strict';
// Enrollments whose hub a webhook chooses: written by `azure-iot-provisioning-service`, used by
// `azure-iot-provisioning-device`, and looked at through `azure-iothub`. The webhook is here.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { createServer } = require('node:http');
const { once } = require('node:events');
const { world, provisioningService, registryOf, hostOf, uniqueId } = require('./support/world');
const { refusedByProvisioning, refusedByHub, registrationEndsAs } = require('./support/refusals');
const { registerWithKey, derivedKey } = require('./support/devices');

const service = provisioningService();
const hosts = Object.keys(world.hubs).map(hostOf);
const FAILED = 400207;
const UNLINKED = 'elsewhere.induct.test';
const namesUnlinked = /elsewhere\.induct\.test/;

const initialTwin = { tags: { chosenBy: 'webhook' }, properties: { desired: { interval: 30, mode: { fast: true } } } };

/**
 * A webhook on this machine. `answer(question, n)` gives the body, or `{status, body}`, of its n-th
 * answer. Its address carries a code, as those of the vendor's functions do.
 */
async function webhook(t, answer) {
  const code = uniqueId('code');
  const asked = [];
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const text = Buffer.concat(parts).toString('utf8');
    const { method, url, headers } = request;
    asked.push({ method, url, headers, text, question: JSON.parse(text) });
    const given = answer(asked.at(-1).question, asked.length);
    const { status, body } = given.status ? given : { status: 200, body: given };
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  const address = `http://127.0.0.1:${server.address().port}/api/choose`;
  const definition = { webhookUrl: `${address}?code=${code}`, apiVersion: '2021-10-01' };
  return { address, code, asked, terms: { allocationPolicy: 'custom', customAllocationDefinition: definition } };
}

/** An enrollment that asks this webhook, and its one device. */
async function individual({ terms }, more = {}) {
  const written = { registrationId: uniqueId('custom'), attestation: { type: 'symmetricKey' }, ...terms, ...more };
  const created = (await service.createOrUpdateIndividualEnrollment(written)).responseBody;
  assert.equal(created.allocationPolicy, 'custom');
  assert.deepEqual(created.customAllocationDefinition, terms.customAllocationDefinition);
  const { primaryKey, secondaryKey } = created.attestation.symmetricKey;
  return { id: created.registrationId, key: primaryKey, secrets: [primaryKey, secondaryKey] };
}

/** A group that asks this webhook, and a device of it. */
async function member({ terms }, more = {}) {
  const written = { enrollmentGroupId: uniqueId('custom-line'), attestation: { type: 'symmetricKey' }, ...terms, ...more };
  const created = (await service.createOrUpdateEnrollmentGroup(written)).responseBody;
  assert.equal(created.allocationPolicy, 'custom');
  assert.deepEqual(created.customAllocationDefinition, terms.customAllocationDefinition);
  const { primaryKey, secondaryKey } = created.attestation.symmetricKey;
  const id = uniqueId('custom-sn');
  const key = derivedKey(primaryKey, id);
  const secrets = [primaryKey, secondaryKey, key, derivedKey(secondaryKey, id)];
  return { id, key, groupId: created.enrollmentGroupId, groupKey: primaryKey, secrets };
}

/** What every question looks like, whoever it is about. Gives the enrollment inside. */
function wellAsked(hook, { id, secrets }, { method, url, headers, text, question }, kind) {
  assert.equal(method, 'POST');
  assert.ok(url.endsWith(`?code=${hook.code}`), 'the address is called with its query');
  assert.match(headers['content-type'], /^application\/json/);
  assert.equal(headers.authorization, undefined);
  assert.deepEqual(Object.keys(question).sort(), [kind, 'deviceRuntimeContext', 'linkedHubs'].sort());
  assert.deepEqual(question.linkedHubs.toSorted(), hosts.toSorted());
  assert.equal(question.deviceRuntimeContext.registrationId, id);
  assert.deepEqual(question.deviceRuntimeContext.symmetricKey, {});

  const enrollment = question[kind];
  assert.equal(enrollment.allocationPolicy, 'custom');
  assert.deepEqual(enrollment.attestation, { type: 'symmetricKey' });
  assert.equal(enrollment.customAllocationDefinition.webhookUrl, `${hook.address}?****`);
  for (const secret of [hook.code, ...secrets, 'SharedAccessSignature']) {
    assert.ok(!text.includes(secret), `a secret is in the question: ${text}`);
  }
  return enrollment;
}

/** The hub has the device with this key. Gives the tags and desired properties of its twin. */
async function isIn(hub, id, key) {
  const registry = registryOf(hub);
  const { authentication } = (await registry.get(id)).responseBody;
  assert.equal(authentication.symmetricKey.primaryKey, key);
  const { tags, properties } = (await registry.getTwin(id)).responseBody;
  const { $metadata, $version, ...desired } = properties.desired;
  return { tags, desired };
}

async function isNotIn(hub, id) {
  await refusedByHub(registryOf(hub).get(id), { as: 'DeviceNotFoundError', status: 404, code: 'DeviceNotFound' });
}

describe('by custom allocation', { concurrency: 8 }, () => {
  for (const transport of ['Http', 'Mqtt', 'Amqp']) {
    test(`an enrolled device gets the hub, the twin and the payload the webhook chose over ${transport}`, async (t) => {
      const payload = { line: 4, greeting: 'välkommen' };
      const hook = await webhook(t, () => ({ iotHubHostName: hostOf('hub-2'), initialTwin, payload }));
      const device = await individual(hook, { initialTwin: { tags: { chosenBy: 'enrollment', hall: 3 } } });
      const told = { model: 'x', list: [1, null, 'three'] };

      const answer = await registerWithKey(device.id, device.key, { payload: told, transport });
      assert.equal(answer.status, 'assigned');
      assert.equal(answer.substatus, 'initialAssignment');
      assert.equal(answer.assignedHub, hostOf('hub-2'));
      // `azure-iot-provisioning-device-mqtt` reads answers as ASCII.
      const heard = transport === 'Mqtt' ? JSON.parse(Buffer.from(JSON.stringify(payload)).toString('ascii')) : payload;
      assert.deepEqual(answer.payload, heard);
      assert.deepEqual(await isIn('hub-2', device.id, device.key), {
        tags: initialTwin.tags, desired: initialTwin.properties.desired,
      });
      await isNotIn('hub-1', device.id);

      assert.equal(hook.asked.length, 1);
      const enrollment = wellAsked(hook, device, hook.asked[0], 'individualEnrollment');
      assert.equal(enrollment.registrationId, device.id);
      const context = hook.asked[0].question.deviceRuntimeContext;
      assert.deepEqual(context, { registrationId: device.id, symmetricKey: {}, payload: told });
    });
  }

  test('a device of a group gets the hub, the twin and the payload the webhook chose', async (t) => {
    const hook = await webhook(t, () => ({ iotHubHostName: hostOf('hub-1'), initialTwin, payload: { line: 5 } }));
    const device = await member(hook);

    const answer = await registerWithKey(device.id, device.key);
    assert.equal(answer.status, 'assigned');
    assert.equal(answer.assignedHub, hostOf('hub-1'));
    assert.deepEqual(answer.payload, { line: 5 });
    assert.deepEqual(await isIn('hub-1', device.id, device.key), {
      tags: initialTwin.tags, desired: initialTwin.properties.desired,
    });
    await isNotIn('hub-2', device.id);

    assert.equal(hook.asked.length, 1);
    const enrollment = wellAsked(hook, device, hook.asked[0], 'enrollmentGroup');
    assert.equal(enrollment.enrollmentGroupId, device.groupId);
    const context = hook.asked[0].question.deviceRuntimeContext;
    assert.deepEqual(context, { registrationId: device.id, symmetricKey: {} });
  });

  test('each device of a group is asked about by itself', async (t) => {
    const choice = new Map();
    const hook = await webhook(t, ({ deviceRuntimeContext }) => ({ iotHubHostName: choice.get(deviceRuntimeContext.registrationId) }));
    const first = await member(hook);
    const id = uniqueId('custom-sn');
    const other = { id, key: derivedKey(first.groupKey, id) };
    choice.set(first.id, hostOf('hub-2')).set(other.id, hostOf('hub-1'));

    const answers = await Promise.all([first, other].map(({ id, key }) => registerWithKey(id, key)));
    assert.deepEqual(answers.map(({ assignedHub }) => assignedHub), [hostOf('hub-2'), hostOf('hub-1')]);
    for (const answer of answers) assert.equal(answer.payload, undefined);
    await isIn('hub-2', first.id, first.key);
    await isIn('hub-1', other.id, other.key);
    assert.equal(hook.asked.length, 2);
  });

  test('a device that registers again is asked about with where it is, and moves', async (t) => {
    const hook = await webhook(t, (_, n) => ({ iotHubHostName: hostOf(n === 1 ? 'hub-1' : 'hub-2') }));
    const reprovisionPolicy = { updateHubAssignment: true, migrateDeviceData: true };
    const device = await individual(hook, { reprovisionPolicy });
    assert.equal((await registerWithKey(device.id, device.key)).assignedHub, hostOf('hub-1'));

    const again = await registerWithKey(device.id, device.key);
    assert.equal(again.assignedHub, hostOf('hub-2'));
    assert.equal(again.substatus, 'deviceDataMigrated');
    await isIn('hub-2', device.id, device.key);
    await isNotIn('hub-1', device.id);
    assert.equal(hook.asked.length, 2);
    wellAsked(hook, device, hook.asked[1], 'individualEnrollment');
    const context = hook.asked[1].question.deviceRuntimeContext;
    assert.equal(context.currentIotHubHostName, hostOf('hub-1'));
    assert.equal(context.currentDeviceId, device.id);
  });

  test('a webhook that fails once is asked once more', async (t) => {
    const hook = await webhook(t, (_, n) => (n === 1 ? { status: 503, body: {} } : { iotHubHostName: hostOf('hub-2') }));
    const device = await individual(hook);
    assert.equal((await registerWithKey(device.id, device.key)).assignedHub, hostOf('hub-2'));
    assert.equal(hook.asked.length, 2);
  });
});

describe('custom allocation fails', { concurrency: 8 }, () => {
  /** The registration fails with this text, the record says so too, and no hub has the device. */
  async function fails(hook, device, text, timesAsked = 1) {
    const state = await registrationEndsAs('failed', registerWithKey(device.id, device.key));
    assert.equal(state.errorCode, FAILED);
    assert.match(state.errorMessage, text);
    assert.ok(!state.errorMessage.includes(hook.code), state.errorMessage);
    assert.equal(hook.asked.length, timesAsked);
    const record = (await service.getDeviceRegistrationState(device.id)).responseBody;
    assert.equal(record.status, 'failed');
    assert.equal(record.errorCode, FAILED);
    for (const hub of Object.keys(world.hubs)) await isNotIn(hub, device.id);
  }

  test('with the status of a webhook that says no, to an enrolled device', async (t) => {
    const hook = await webhook(t, () => ({ status: 404, body: { iotHubHostName: hostOf('hub-1') } }));
    await fails(hook, await individual(hook), /\b404\b/);
  });

  test('with the status of a webhook that says no, to a device of a group', async (t) => {
    const hook = await webhook(t, () => ({ status: 404, body: {} }));
    await fails(hook, await member(hook), /\b404\b/);
  });

  test('with the status of a webhook that fails twice', async (t) => {
    const hook = await webhook(t, () => ({ status: 503, body: {} }));
    await fails(hook, await individual(hook), /\b503\b/, 2);
  });

  test('when the webhook names a hub that is not linked', async (t) => {
    const hook = await webhook(t, () => ({ iotHubHostName: UNLINKED }));
    await fails(hook, await individual(hook), namesUnlinked);
  });

  test('when the webhook names a hub its group does not, and one that is not linked', async (t) => {
    const hook = await webhook(t, (_, n) => ({ iotHubHostName: n === 1 ? hostOf('hub-1') : UNLINKED }));
    const device = await member(hook, { iotHubs: [hostOf('hub-2')] });
    await fails(hook, device, /hub-1/);
    assert.deepEqual(hook.asked[0].question.linkedHubs, [hostOf('hub-2')]);
    await fails(hook, device, namesUnlinked, 2);
  });

  test('when the webhook names no hub', async (t) => {
    const hook = await webhook(t, () => ({ initialTwin }));
    await fails(hook, await individual(hook), /iotHubHostName/);
  });

  test('until the webhook chooses a hub', async (t) => {
    const hook = await webhook(t, (_, n) => (n === 1 ? { status: 404, body: {} } : { iotHubHostName: hostOf('hub-2') }));
    const device = await individual(hook);
    await fails(hook, device, /\b404\b/);
    assert.equal((await registerWithKey(device.id, device.key)).assignedHub, hostOf('hub-2'));
    await isIn('hub-2', device.id, device.key);
  });

  test('before it begins, without a webhook or with one that is not on this machine and not https', async () => {
    const plain = { webhookUrl: 'http://nowhere.induct.test/choose', apiVersion: '2021-10-01' };
    for (const customAllocationDefinition of [undefined, plain]) {
      const id = uniqueId('custom');
      const written = {
        registrationId: id, attestation: { type: 'symmetricKey' }, allocationPolicy: 'custom', customAllocationDefinition,
      };
      await refusedByProvisioning(service.createOrUpdateIndividualEnrollment(written), { as: 'ArgumentError', status: 400 });
      await refusedByProvisioning(service.getIndividualEnrollment(id), { as: 'Error', status: 404, code: 404201 });
    }
  });
});
