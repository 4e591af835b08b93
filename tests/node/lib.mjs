/** What the scripts share: claims, bounded waits, REST calls and a recording socket. */
import { io } from 'socket.io-client';

/** A wait that names no other bound gives up after this, in milliseconds. */
export const WAIT_MS = 20_000;

/** How often a condition that nothing announces is looked at, in milliseconds. */
const LOOK_EVERY_MS = 25;

/** Prints a claim that has just been proven. */
export function ok(claim) {
  console.log(`ok - ${claim}`);
}

/** Fails with `message` unless `condition` holds. */
export function assert(condition, message) {
  if (!condition) throw new Error(message);
}

/** Fails unless both are the same JSON; says where long texts part. */
export function assertEqual(actual, expected, what) {
  const [found, wanted] = [actual, expected].map((value) => JSON.stringify(value));
  if (found === wanted) return;
  let at = 0;
  while (found?.[at] === wanted?.[at]) at++;
  const around = (text) => `${text?.length} characters, …${text?.slice(Math.max(0, at - 60), at + 120)}…`;
  throw new Error(`${what}: differs at character ${at}\n  found    ${around(found)}\n  expected ${around(wanted)}`);
}

/** Waits until `look` answers something truthy, and answers that. */
export async function until(what, look, ms = WAIT_MS) {
  const deadline = Date.now() + ms;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert(Date.now() < deadline, `waited ${ms} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

/** Runs a script to its end: status 0 when it proves everything within `ms`, else 1 with the reason. */
export function main(ms, script) {
  const fail = (error) => {
    console.log(`not ok - ${error?.stack ?? error}`);
    process.exit(1);
  };
  setTimeout(() => fail(`the script took longer than ${ms} ms`), ms);
  script().then(() => process.exit(0), fail);
}

/** The script's arguments, named as its usage says. */
export function args(...names) {
  const values = process.argv.slice(2);
  if (values.length !== names.length) {
    console.log(`usage: node ${process.argv[1].split('/').pop()} ${names.map((name) => `<${name}>`).join(' ')}`);
    process.exit(1);
  }
  return values;
}

/** Calls the service; answers the value inside the envelope. `cookie` is the whole Cookie header. */
export async function call(baseUrl, cookie, method, path, body) {
  const response = await fetch(new URL(path, baseUrl), {
    method,
    headers: { ...(cookie && { cookie }), ...(body && { 'content-type': 'application/json' }) },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(WAIT_MS),
  });
  const text = await response.text();
  assert(response.ok, `${method} ${path} answered ${response.status}: ${text}`);
  return text === '' ? undefined : JSON.parse(text).data;
}

/** A connection of the real client that keeps every event in its order of arrival. */
export class Recorder {
  #wake = new Set();
  /** Each event as `{name, payload}`; `connect`, `disconnect` and `connect_error` are among them. */
  events = [];

  /** `options` are the client's; the address is written as the original web UI writes it. */
  constructor(baseUrl, namespace, options) {
    const address = baseUrl.replace(/^http/, 'ws').replace(/\/$/, '');
    this.socket = io(address + namespace, { transports: ['websocket'], forceNew: true, ...options });
    for (const name of ['connect', 'disconnect']) this.socket.on(name, (payload) => this.record(name, payload));
    this.socket.on('connect_error', (error) => this.record('connect_error', error.message));
    this.socket.onAny((name, payload) => this.record(name, payload));
  }

  record(name, payload) {
    this.events.push({ name, payload });
    for (const wake of [...this.#wake]) wake();
  }

  /** Waits until `look` answers something truthy; looks again at each event. */
  until(what, look, ms = WAIT_MS) {
    return new Promise((resolve, reject) => {
      const settle = (action) => {
        clearTimeout(timer);
        this.#wake.delete(tryOnce);
        action();
      };
      const tryOnce = () => {
        const found = look();
        if (found) settle(() => resolve(found));
      };
      const timer = setTimeout(() => {
        settle(() => reject(new Error(`waited ${ms} ms in vain for ${what}; the last events were ${this.last()}`)));
      }, ms);
      this.#wake.add(tryOnce);
      tryOnce();
    });
  }

  /** Waits for an event at position `from` or later; answers its position. */
  async event(name, from = 0, matches = () => true) {
    const find = () => this.events.findIndex((event, at) => at >= from && event.name === name && matches(event.payload));
    await this.until(`the event ${name}`, () => find() >= 0);
    return find();
  }

  /** The last events in short, for messages. */
  last() {
    return this.events.slice(-6).map((event) => JSON.stringify(event).replace(/^(.{200}).*(.{100})$/s, '$1…$2')).join(' ');
  }

  close() {
    this.socket.disconnect();
  }
}
