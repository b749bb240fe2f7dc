'use strict';
// `tss.js`, which the vendor's security client is made on, speaks to `/dev/tpm0` or to Microsoft's
// simulator: two TCP ports side by side, one for commands and one for switches. Debian's `swtpm`
// has one channel with bare commands. This stands between the two; what a command says, and what
// is answered, passes as it is.
//
// Words are 32 bits, big-endian. A request is a word and what belongs to it; the last word of every
// answer is 0 when all went well.

const { createServer } = require('node:net');
const { once } = require('node:events');

const POWER_ON = 1;
const SEND_COMMAND = 8;
const NV_ON = 11;
const HANDSHAKE = 15;
const SESSION_END = 20;

const VERSION = 1;
/** What there is besides commands: the port with the switches. */
const PLATFORM_AVAILABLE = 1;
/** Commands and answers begin with a tag of 2 bytes and their size in 4. */
const HEAD_BYTES = 6;

/** What comes in from a socket, in pieces of the size that is asked for. */
class Reader {
  #chunks;
  #waiting = Buffer.alloc(0);

  constructor(socket) {
    this.#chunks = socket[Symbol.asyncIterator]();
  }

  /** Nothing, once the other side has ended. */
  async take(nBytes) {
    while (this.#waiting.length < nBytes) {
      const { value, done } = await this.#chunks.next();
      if (done) return undefined;
      this.#waiting = Buffer.concat([this.#waiting, value]);
    }
    const taken = this.#waiting.subarray(0, nBytes);
    this.#waiting = this.#waiting.subarray(nBytes);
    return taken;
  }

  async word() {
    return (await this.take(4))?.readUInt32BE(0);
  }
}

/** The channel of one swtpm, which has no word for two commands at a time. */
class Channel {
  #socket;
  #reader;
  #last = Promise.resolve();

  constructor(socket) {
    this.#socket = socket;
    this.#reader = new Reader(socket);
  }

  /** What the TPM answers. */
  execute(command) {
    const turn = this.#last.then(async () => {
      this.#socket.write(command);
      const head = await this.#reader.take(HEAD_BYTES);
      const rest = head && (await this.#reader.take(head.readUInt32BE(2) - HEAD_BYTES));
      if (!rest) throw new Error('swtpm ended amid a command');
      return Buffer.concat([head, rest]);
    });
    this.#last = turn.catch(() => {});
    return turn;
  }
}

function words(...values) {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => bytes.writeUInt32BE(value, 4 * i));
  return bytes;
}

async function serveCommands(socket, tpm) {
  const reader = new Reader(socket);
  for (;;) {
    const request = await reader.word();
    if (request === undefined || request === SESSION_END) return;
    if (request === HANDSHAKE) {
      await reader.word();
      socket.write(words(VERSION, PLATFORM_AVAILABLE, 0));
    } else if (request === SEND_COMMAND) {
      await reader.take(1); // The locality.
      const command = await reader.take(await reader.word());
      const answer = await tpm().execute(command);
      socket.write(Buffer.concat([words(answer.length), answer, words(0)]));
    } else {
      throw new Error(`the simulator has no request ${request}`);
    }
  }
}

async function serveSwitches(socket) {
  const reader = new Reader(socket);
  for (;;) {
    const request = await reader.word();
    if (request === undefined || request === SESSION_END) return;
    if (request !== POWER_ON && request !== NV_ON) throw new Error(`the simulator has no switch ${request}`);
    // It is on all the time that it runs.
    socket.write(words(0));
  }
}

/** A server that ends a connection when `serve` is through with it, or cannot go on. */
function server(serve) {
  return createServer((socket) => {
    serve(socket).then(
      () => socket.end(),
      (error) => {
        // A client that is gone is no fault of the bridge's.
        if (error.code !== 'ECONNRESET') console.error(`tpm_bridge: ${error.message}`);
        socket.destroy();
      },
    );
  });
}

async function listen(one, port) {
  one.listen(port, '127.0.0.1');
  await once(one, 'listening');
  return one.address().port;
}

/**
 * Plays the simulator for the channel that `tpm` gives at the time; two free ports side by side,
 * of which `port` is the first.
 */
async function bridge(tpm) {
  for (;;) {
    const [commands, switches] = [server((socket) => serveCommands(socket, tpm)), server(serveSwitches)];
    const port = await listen(commands, 0);
    try {
      await listen(switches, port + 1);
    } catch (error) {
      commands.close();
      if (error.code === 'EADDRINUSE') continue;
      throw error;
    }
    return { port, close: () => [commands, switches].forEach((one) => one.close()) };
  }
}

module.exports = { Channel, bridge };
