'use strict';
// Twins as operators see them, through `azure-iothub`.

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { registryOf, uniqueId } = require('./support/world');
const { refusedByHub } = require('./support/refusals');

const registry = registryOf('hub-1');

async function device(prefix = 'twin') {
  const deviceId = uniqueId(prefix);
  const { responseBody } = await registry.create({ deviceId });
  return responseBody;
}

async function twinOf(deviceId) {
  return (await registry.getTwin(deviceId)).responseBody;
}

async function patched(deviceId, patch, etag = '*') {
  return (await registry.updateTwin(deviceId, patch, etag)).responseBody;
}

describe('a twin', () => {
  test('is born with its device, empty and mirroring it', async () => {
    const { deviceId, etag: deviceEtag } = await device();
    const { responseBody: twin, httpResponse } = await registry.getTwin(deviceId);
    assert.equal(httpResponse.headers.etag, undefined);
    assert.equal(twin.deviceId, deviceId);
    assert.equal(twin.etag, 'AAAAAAAAAAE=');
    assert.equal(twin.deviceEtag, deviceEtag);
    assert.equal(twin.version, 2);
    assert.equal(twin.status, 'enabled');
    assert.equal(twin.connectionState, 'Disconnected');
    assert.equal(twin.authenticationType, 'sas');
    assert.deepEqual(twin.capabilities, { iotEdge: false });
    for (const section of [twin.properties.desired, twin.properties.reported]) {
      assert.deepEqual(Object.keys(section).sort(), ['$metadata', '$version']);
      assert.equal(section.$version, 1);
      assert.match(section.$metadata.$lastUpdated, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    }
  });

  test('is merged with a patch: objects grow, other values are replaced, null takes away', async () => {
    const { deviceId } = await device();
    await patched(deviceId, {
      tags: { place: { city: 'Ulm', floor: 2 }, line: 'north', list: [1, 2] },
      properties: { desired: { a: { b: 1, c: 2 }, d: 'kept' } },
    });
    const twin = await patched(deviceId, {
      tags: { place: { floor: null, room: 'R1' }, list: ['whole'], line: 7 },
      properties: { desired: { a: { b: null }, e: {} } },
    });
    assert.deepEqual(twin.tags, { place: { city: 'Ulm', room: 'R1' }, list: ['whole'], line: 7 });
    const { $metadata, $version, ...desired } = twin.properties.desired;
    assert.deepEqual(desired, { a: { c: 2 }, d: 'kept', e: {} });
    assert.equal($version, 3);
    assert.equal($metadata.a.b, undefined);
    assert.equal($metadata.$lastUpdatedVersion, 3);
    assert.equal($metadata.a.$lastUpdatedVersion, 3);
    assert.equal($metadata.a.c.$lastUpdatedVersion, 2);
    assert.equal($metadata.d.$lastUpdatedVersion, 2);
  });

  test('has a new etag and version after every write', async () => {
    const { deviceId, etag: deviceEtag } = await device();
    const before = await twinOf(deviceId);
    const tagged = await patched(deviceId, { tags: { a: 1 } });
    assert.notEqual(tagged.etag, before.etag);
    assert.equal(tagged.version, before.version + 1);
    assert.equal(tagged.properties.desired.$version, 1);
    const desired = await patched(deviceId, { properties: { desired: { a: 1 } } });
    assert.notEqual(desired.etag, tagged.etag);
    assert.equal(desired.version, tagged.version + 1);
    assert.equal(desired.properties.desired.$version, 2);
    assert.equal(desired.deviceEtag, deviceEtag, 'the identity has not been written');
  });

  test('takes back the whole of what it showed, and itself when asked by its object', async () => {
    const { deviceId } = await device();
    const whole = await twinOf(deviceId);
    whole.tags = { line: 'north' };
    whole.properties.desired.interval = 5;
    whole.properties.reported.forged = true;
    whole.status = 'disabled';
    const written = await patched(deviceId, whole.toJSON(), whole.etag);
    assert.deepEqual(written.tags, { line: 'north' });
    assert.equal(written.properties.desired.interval, 5);
    assert.equal(written.properties.reported.forged, undefined);
    assert.equal(written.status, 'enabled');

    const twin = (await registry.getTwin(deviceId)).responseBody;
    await twin.update({ tags: { line: 'south' } });
    assert.deepEqual(twin.tags, { line: 'south' });
    await twin.get();
    assert.deepEqual(twin.tags, { line: 'south' });
  });

  test('is cleared section by section with null', async () => {
    const { deviceId } = await device();
    await patched(deviceId, { tags: { a: 1 }, properties: { desired: { b: 1 } } });
    const untagged = await patched(deviceId, { tags: null });
    assert.deepEqual(untagged.tags, {});
    assert.equal(untagged.properties.desired.b, 1);
    const cleared = await patched(deviceId, { properties: { desired: null } });
    assert.deepEqual(Object.keys(cleared.properties.desired).sort(), ['$metadata', '$version']);
  });
});

describe('a change to a twin is refused', () => {
  const bad = async (patch) => {
    const { deviceId } = await device('bad-twin');
    const error = await refusedByHub(registry.updateTwin(deviceId, patch, '*'), {
      as: 'ArgumentError', status: 400, code: 'ArgumentInvalid',
    });
    assert.equal((await twinOf(deviceId)).version, 2, 'nothing was written');
    return error;
  };
  const nested = (depth) => (depth === 0 ? 1 : { deeper: nested(depth - 1) });

  test('with a stale etag, and nothing changes', async () => {
    const { deviceId } = await device();
    const { etag: stale } = await twinOf(deviceId);
    const current = await patched(deviceId, { tags: { a: 1 } }, stale);
    await refusedByHub(registry.updateTwin(deviceId, { tags: { a: 2 } }, stale), {
      as: 'InvalidEtagError', status: 412, code: 'PreconditionFailed',
    });
    const now = await twinOf(deviceId);
    assert.deepEqual([now.tags, now.etag], [{ a: 1 }, current.etag]);
  });

  test('when there is no such device', async () => {
    const missing = { as: 'DeviceNotFoundError', status: 404, code: 'DeviceNotFound' };
    await refusedByHub(registry.getTwin(uniqueId('missing')), missing);
    await refusedByHub(registry.updateTwin(uniqueId('missing'), { tags: { a: 1 } }, '*'), missing);
  });

  test('when a name may not be one', async () => {
    for (const name of ['a.b', 'a b', 'a$', 'a#', 'a\u0007', 'x'.repeat(1025)]) {
      await bad({ properties: { desired: { nested: { [name]: 1 } } } });
    }
  });

  test('when it is too deep', async () => {
    const { deviceId } = await device();
    await patched(deviceId, { tags: { one: nested(10) } });
    await bad({ tags: { one: nested(11) } });
  });

  test('when it is too large', async () => {
    const text = (bytes) => 'x'.repeat(bytes);
    const texts = (count, bytes) => Object.fromEntries(Array.from({ length: count }, (_, n) => [`k${n}`, text(bytes)]));
    await bad({ tags: { a: text(4097) } });
    await bad({ tags: texts(3, 4000) });
    await bad({ properties: { desired: texts(9, 4000) } });
  });

  test('when a number is beyond what a twin can hold, or a list holds null', async () => {
    const { deviceId } = await device();
    await patched(deviceId, { tags: { most: 4503599627370495, least: -4503599627370496 } });
    await bad({ tags: { more: 4503599627370496 } });
    await bad({ tags: { list: [1, null] } });
  });
});
