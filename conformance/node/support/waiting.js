'use strict';
// Waiting for something to become so, never for a time to pass.

const assert = require('node:assert/strict');

/** Longer than anything here takes, shorter than the runner's patience. */
const LIMIT_MS = 30_000;

/** The first true answer of `look`, which may be a promise's. */
async function eventually(look, what, limitMs = LIMIT_MS) {
  const until = Date.now() + limitMs;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < until, `not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What was put in comes out in its order, to whoever waits. */
class Queue {
  #items = [];

  put(item) {
    this.#items.push(item);
  }

  get length() {
    return this.#items.length;
  }

  async next(what) {
    await eventually(() => this.#items.length > 0, what);
    return this.#items.shift();
  }
}

module.exports = { LIMIT_MS, eventually, Queue };
