'use strict';
// Stops and starts the server that `world.restarted` describes.

const assert = require('node:assert/strict');
const { connect } = require('node:net');
const { once } = require('node:events');
const { world } = require('./world');

/** The server may take its time to end, and to come up. */
const PATIENCE_MS = 60_000;

async function control(word) {
  const socket = connect(world.control);
  socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error(`nothing after ${PATIENCE_MS} ms`)));
  socket.write(`${word}\n`);
  const [answer] = await once(socket.setEncoding('utf8'), 'data');
  socket.destroy();
  assert.equal(answer, 'ok\n');
}

module.exports = { control };
