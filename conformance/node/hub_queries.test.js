'use strict';
// Queries over the devices of a hub, through `azure-iothub`.

const { test, describe, before } = require('node:test');
const assert = require('node:assert/strict');
const { registryOf, uniqueId } = require('./support/world');
const { Twin } = require('azure-iothub');
const { refusedByHub } = require('./support/refusals');
const { pagesOf } = require('./support/pages');

const registry = registryOf('hub-1');
const suite = uniqueId('suite');
const N_DEVICES = 7;
const ids = Array.from({ length: N_DEVICES }, (_, n) => `${suite}-${n}`);
const evens = ids.filter((_, n) => n % 2 === 0);

before(async () => {
  await registry.addDevices(
    ids.map((deviceId, n) => ({
      deviceId,
      status: n === 0 ? 'disabled' : 'enabled',
      tags: { suite, rank: n, parity: n % 2 === 0 ? 'even' : 'odd' },
      properties: { desired: { interval: n * 10 } },
    })),
  );
});

/** The ids a condition selects among the devices of this suite. */
async function selected(condition) {
  const query = registry.createQuery(`SELECT * FROM devices WHERE tags.suite = '${suite}' AND (${condition})`);
  return (await pagesOf(query, 'Twin')).flat().map(({ deviceId }) => deviceId).sort();
}

describe('a query over a hub', () => {
  test('shows twins page by page', async () => {
    const query = registry.createQuery(`SELECT * FROM devices WHERE tags.suite = '${suite}'`, 3);
    const pages = await pagesOf(query, 'Twin');
    assert.deepEqual(pages.map(({ length }) => length), [3, 3, 1]);
    assert.deepEqual(pages.flat().map(({ deviceId }) => deviceId).sort(), ids);
    assert.equal(pages[0][0].tags.suite, suite);
    assert.ok(pages[0][0].properties.desired.$version);
  });

  test('shows twins as objects that can be written', async () => {
    const query = registry.createQuery(`SELECT * FROM devices WHERE deviceId = '${ids[3]}'`);
    const { result } = await query.nextAsTwin();
    assert.equal(result.length, 1);
    assert.ok(result[0] instanceof Twin);
    await result[0].update({ tags: { touched: true } });
    assert.equal((await registry.getTwin(ids[3])).responseBody.tags.touched, true);
  });

  test('selects by what a twin and its device say', async () => {
    assert.deepEqual(await selected("tags.parity = 'even'"), evens);
    assert.deepEqual(await selected("tags.parity != 'even'"), ids.filter((id) => !evens.includes(id)));
    assert.deepEqual(await selected('tags.rank >= 2 AND tags.rank < 4'), [ids[2], ids[3]]);
    assert.deepEqual(await selected('properties.desired.interval > 40 OR tags.rank = 1'), [ids[1], ids[5], ids[6]]);
    assert.deepEqual(await selected("status = 'disabled'"), [ids[0]]);
    assert.deepEqual(await selected(`deviceId IN ['${ids[4]}', '${ids[6]}', 'elsewhere']`), [ids[4], ids[6]]);
    assert.deepEqual(await selected('IS_DEFINED(tags.nothing)'), []);
    assert.deepEqual(await selected("NOT (tags.parity = 'odd')"), evens);
    assert.deepEqual(await selected("tags.nothing != 'x'"), []);
  });

  test('shows the members asked for', async () => {
    const query = registry.createQuery(`SELECT deviceId, status FROM devices WHERE deviceId = '${ids[0]}'`);
    assert.deepEqual(await pagesOf(query, 'Raw'), [[{ deviceId: ids[0], status: 'disabled' }]]);
  });

  test('counts', async () => {
    const query = registry.createQuery(`SELECT COUNT() AS n FROM devices WHERE tags.suite = '${suite}'`);
    assert.deepEqual(await pagesOf(query, 'Raw'), [[{ n: N_DEVICES }]]);
  });

  test('finds nothing where there is nothing', async () => {
    assert.deepEqual(await selected("tags.parity = 'neither'"), []);
  });

  test('is refused when it cannot be read', async () => {
    const unreadable = { as: 'ArgumentError', status: 400, code: 'ArgumentInvalid', message: /^BadRequest/ };
    for (const text of ['SELECT', 'DELETE FROM devices', "SELECT * FROM devices WHERE tags.a = 'open"]) {
      await refusedByHub(registry.createQuery(text).next(), unreadable);
    }
  });

  test('is refused with a token nobody gave', async () => {
    const query = registry.createQuery('SELECT * FROM devices', 2);
    await refusedByHub(query.next('no such token'), { as: 'ArgumentError', status: 400, code: 'ArgumentInvalid' });
  });
});
