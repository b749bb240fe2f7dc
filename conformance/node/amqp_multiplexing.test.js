'use strict';
// A hundred devices on one connection, as gateways have it: one pair of token links, and a session
// for each device and each module. The vendor's Node clients cannot do that, nor show a module's
// certificate, so `rhea` does, the AMQP library they use.

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { once } = require('node:events');
const rhea = require('rhea');
const { world, uniqueId, newKey } = require('./support/world');
const { authority, leaf } = require('./support/certificates');
const { uploadAuthority, sendMessage, eventsOf } = require('./support/rest');
const { LIMIT_MS, eventually } = require('./support/waiting');
const { operatorsOf } = require('./support/operators');
const { deviceToken } = require('./support/tokens');

const { hub, registry, change, stateOf, nWaiting } = operatorsOf(world.hubs['hub-1']);

const N_DEVICES = 100;
/** The contract is 20 seconds; the server's own aim is one. */
const CUT_OFF_MS = 5_000;

/** What a device or a module is called in tokens and addresses. */
function nameOf({ deviceId, moduleId }) {
  return moduleId ? `${deviceId}/modules/${moduleId}` : deviceId;
}

/** One connection and its token links. */
class Gateway {
  #answers = new Map();

  /** `credentials` may be `{cert, key}`. */
  static async open(credentials) {
    const gateway = new Gateway();
    const container = rhea.create_container();
    const how = { host: hub.host, port: 5671, transport: 'tls', reconnect: false };
    gateway.connection = container.connect({ ...how, ...credentials });
    // What is told of one session is told to its connection too, if nobody listens there.
    for (const name of ['session_error', 'session_close', 'sender_error', 'receiver_error']) gateway.connection.on(name, () => {});
    gateway.isClosed = false;
    gateway.connection.on('connection_close', () => (gateway.isClosed = true));
    gateway.connection.on('disconnected', () => (gateway.isClosed = true));
    await once(gateway.connection, 'connection_open');
    gateway.tokens = gateway.connection.open_sender('$cbs');
    const answers = gateway.connection.open_receiver('$cbs');
    answers.on('message', ({ message }) => {
      gateway.#answers.get(message.correlation_id)(message.application_properties);
      gateway.#answers.delete(message.correlation_id);
    });
    await once(answers, 'receiver_open');
    return gateway;
  }

  /** Shows the token of a device or a module; gives the status of the answer. */
  async showToken({ primaryKey, ...who }) {
    const message_id = uniqueId('put-token');
    const name = `${hub.host}/devices/${nameOf(who)}`;
    const application_properties = { operation: 'put-token', type: 'servicebus.windows.net:sastoken', name };
    const answered = new Promise((resolve) => this.#answers.set(message_id, resolve));
    this.tokens.send({ message_id, reply_to: 'cbs', application_properties, body: deviceToken(hub, nameOf(who), primaryKey) });
    return (await answered)['status-code'];
  }

  /** Opens the session of a device or a module with a link for its events and one for its messages. */
  async attach(who) {
    const session = this.connection.create_session();
    const seat = { session, error: undefined, messages: [] };
    session.on('session_error', () => (seat.error = session.error));
    session.on('session_close', () => (seat.isClosed = true));
    for (const name of ['sender_error', 'receiver_error', 'sender_close', 'receiver_close']) session.on(name, () => {});
    session.open();
    seat.sender = session.open_sender(`/devices/${nameOf(who)}/messages/events`);
    const receiver = session.open_receiver(`/devices/${nameOf(who)}/messages/devicebound`);
    receiver.on('message', ({ message }) => seat.messages.push(message));
    await Promise.all([once(seat.sender, 'sender_open'), once(receiver, 'receiver_open')]);
    return seat;
  }
}

/** Sends an event, one at a time on each link. */
async function send({ sender }, body) {
  const over = new AbortController();
  const signal = AbortSignal.any([over.signal, AbortSignal.timeout(LIMIT_MS)]);
  const outcomes = ['accepted', 'rejected', 'released'].map(async (name) => {
    await once(sender, name, { signal });
    return name;
  });
  sender.send({ body: rhea.message.data_section(Buffer.from(body)) });
  assert.equal(await Promise.race(outcomes), 'accepted', body);
  over.abort();
  await Promise.allSettled(outcomes);
}

test('a hundred devices share a connection, and one that is disabled leaves the others alone', async (t) => {
  const devices = Array.from({ length: N_DEVICES }, () => ({ deviceId: uniqueId('gw'), primaryKey: newKey() }));
  await registry.addDevices(
    devices.map(({ deviceId, primaryKey }) => ({
      deviceId,
      authentication: { symmetricKey: { primaryKey, secondaryKey: newKey() } },
    })),
  );
  const gateway = await Gateway.open();
  t.after(() => gateway.connection.close());
  const statuses = await Promise.all(devices.map((device) => gateway.showToken(device)));
  assert.deepEqual(statuses, devices.map(() => 200));
  const seats = await Promise.all(devices.map((device) => gateway.attach(device)));
  await Promise.all(seats.map((seat, n) => send(seat, `first of ${n}`)));

  const [odd, ...others] = devices.map((device, n) => ({ ...device, seat: seats[n] }));
  const began = Date.now();
  await change(odd.deviceId, { status: 'disabled' });
  await eventually(() => odd.seat.isClosed, 'the end of its session');
  assert.ok(Date.now() - began < CUT_OFF_MS, `after ${Date.now() - began} ms`);
  assert.equal(odd.seat.error?.condition, 'amqp:not-found');
  assert.equal(await stateOf(odd.deviceId), 'Disconnected');
  assert.equal(await gateway.showToken(odd), 404);

  await Promise.all(others.map(({ seat, deviceId }) => send(seat, `second of ${deviceId}`)));
  const neighbour = others[0];
  await sendMessage(hub, neighbour.deviceId, { messageId: 'for the neighbour', bodyText: 'x' });
  await eventually(() => neighbour.seat.messages.length === 1, 'a message for a neighbour');
  await eventually(async () => (await nWaiting(neighbour.deviceId)) === 0, 'an empty queue');
  assert.equal(gateway.isClosed, false);
  assert.deepEqual(others.filter(({ seat }) => seat.isClosed || seat.error), []);

  await change(odd.deviceId, { status: 'enabled' });
  assert.equal(await gateway.showToken(odd), 200);
  await send(await gateway.attach(odd), 'back again');
  for (const { deviceId } of devices) await eventsOf(hub, deviceId, 2);
});

test('a device that shows no token gets no link on the connection of one that did', async (t) => {
  const [known, other] = Array.from({ length: 2 }, () => ({ deviceId: uniqueId('gw'), primaryKey: newKey() }));
  for (const { deviceId, primaryKey } of [known, other]) {
    await registry.create({ deviceId, authentication: { symmetricKey: { primaryKey, secondaryKey: newKey() } } });
  }
  const gateway = await Gateway.open();
  t.after(() => gateway.connection.close());
  assert.equal(await gateway.showToken({ ...other, primaryKey: newKey() }), 401);
  assert.equal(await gateway.showToken(known), 200);
  const seat = await gateway.attach(known);
  const session = gateway.connection.create_session();
  session.open();
  const stolen = session.open_sender(`/devices/${other.deviceId}/messages/events`);
  await once(stolen, 'sender_close', { signal: AbortSignal.timeout(LIMIT_MS) });
  assert.equal(stolen.error.condition, 'amqp:unauthorized-access');
  await send(seat, 'undisturbed');
  await eventsOf(hub, known.deviceId, 1);
});

test('a device that is disabled takes its modules with it, and leaves its neighbours on the connection alone', async (t) => {
  const [device, neighbour] = Array.from({ length: 2 }, () => ({ deviceId: uniqueId('gw'), primaryKey: newKey() }));
  const modules = [device, device, neighbour].map(({ deviceId }) => ({ deviceId, moduleId: uniqueId('m'), primaryKey: newKey() }));
  const authenticationOf = ({ primaryKey }) => ({ symmetricKey: { primaryKey, secondaryKey: newKey() } });
  for (const one of [device, neighbour]) await registry.create({ deviceId: one.deviceId, authentication: authenticationOf(one) });
  for (const one of modules) await registry.addModule({ ...one, authentication: authenticationOf(one) });
  const gateway = await Gateway.open();
  t.after(() => gateway.connection.close());
  const seats = [];
  for (const one of [device, ...modules, neighbour]) {
    assert.equal(await gateway.showToken(one), 200);
    seats.push(await gateway.attach(one));
    await send(seats.at(-1), 'before');
  }
  const [doomed, others] = [seats.slice(0, 3), seats.slice(3)];
  const began = Date.now();
  await change(device.deviceId, { status: 'disabled' });
  await eventually(() => doomed.every(({ isClosed }) => isClosed), 'the end of three sessions');
  assert.ok(Date.now() - began < CUT_OFF_MS, `after ${Date.now() - began} ms`);
  assert.deepEqual(doomed.map(({ error }) => error?.condition), Array(3).fill('amqp:not-found'));
  assert.equal(await gateway.showToken(modules[0]), 404);
  for (const seat of others) await send(seat, 'after');
  assert.deepEqual([gateway.isClosed, ...others.map((seat) => seat.isClosed || seat.error)], [false, undefined, undefined]);
  await change(device.deviceId, { status: 'enabled' });
  assert.equal(await gateway.showToken(modules[0]), 200);
  await send(await gateway.attach(modules[0]), 'back again');
  await eventsOf(hub, device.deviceId, 4);
  await eventsOf(hub, neighbour.deviceId, 4);
});

test("a module's certificate names it and its device", async (t) => {
  const { deviceId } = (await registry.create({ deviceId: uniqueId('gw') })).responseBody;
  const root = authority(uniqueId('root'));
  await uploadAuthority(uniqueId('ca'), root);
  const module = { deviceId, moduleId: 'signed' };
  await registry.addModule({ ...module, authentication: { type: 'certificateAuthority' } });
  for (const [name, isLetIn] of [[`${deviceId}/signed`, true], [deviceId, false], ['signed', false]]) {
    const gateway = await Gateway.open(leaf(name, root));
    t.after(() => gateway.connection.close());
    if (isLetIn) {
      await send(await gateway.attach(module), 'by certificate');
    } else {
      const session = gateway.connection.create_session();
      session.open();
      const refused = session.open_sender(`/devices/${nameOf(module)}/messages/events`);
      await once(refused, 'sender_close', { signal: AbortSignal.timeout(LIMIT_MS) });
      assert.equal(refused.error.condition, 'amqp:unauthorized-access');
    }
  }
  await eventsOf(hub, deviceId, 1);
});
