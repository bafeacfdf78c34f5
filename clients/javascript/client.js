/**
 * A client for a Llama Chatbot server, for browsers and Node: one module without dependencies.
 *
 * A reply that is being read survives lost connections and restarts of the server by itself.
 *
 * @module
 */

/**
 * @typedef {{id: number, username: string, email: string, is_staff: boolean}} User
 * @typedef {Record<string, unknown>} Options - as the model takes them, such as `temperature`
 * @typedef {{title?: string | null, model?: string | null, system_prompt?: string | null,
 *   options?: Options | null}} ThreadSettings
 * @typedef {{id: number, title: string, model: string, created_at: string, updated_at: string,
 *   pinned: boolean, archived: boolean, expires_at: string | null}} Thread
 * @typedef {Thread & {preview: string, running_reply_id: number | null}} ListedThread
 * @typedef {"generating" | "complete" | "stopped" | "interrupted" | "failed"} Status
 * @typedef {{prompt_tokens: number | null, completion_tokens: number | null,
 *   duration_ms: number | null, first_token_ms: number | null}} Usage
 * @typedef {{id: number, parent_id: number | null, sender: "user" | "bot", content: string,
 *   thinking: string, status: Status, created_at: string, model: string | null,
 *   error_code: string | null, finish_reason: string | null, usage: Usage | null}} Message
 * @typedef {{parent_id?: number | null, format?: "json" | object, signal?: AbortSignal,
 *   key?: string}} SendOptions - `key` makes the send safe to repeat after a reload
 * @typedef {{type: "start", reply_id: number, message_id: number | null, thread_id: number,
 *     model: string}
 *   | {type: "queued", position: number}
 *   | {type: "thinking" | "delta", text: string, offset: number}
 *   | {type: "rewind", offset: number}
 *   | {type: "end", status: Status, finish_reason: string | null, usage: Usage | null}
 *   | {type: "error", error: string, code: string, fields?: Record<string, string[]>,
 *     reply_kept?: boolean}} ReplyEvent
 * @typedef {({type: "start" | "reload"} | {type: "thread"} & ListedThread
 *   | {type: "thread_deleted", id: number}
 *   | {type: "reply_started", thread_id: number, reply_id: number}
 *   | {type: "reply_ended", thread_id: number, reply_id: number, status: Status}
 *   ) & {event_id: string | null}} ThreadEvent
 */

const NDJSON = "application/x-ndjson";
const LONGEST_WAIT = 8000; // ms between two tries to connect again
const MOST_TRIES = 8; // without anything new in between

/**
 * Whatever goes wrong with a call or a reply, but for what the caller's own `signal` ends.
 *
 * Beside the server's own codes there are `unreachable`, and `unreadable` for an answer that is
 * none of the server's, such as a proxy's page.
 */
export class ChatError extends Error {
  /**
   * @param {{error: string, code: string, fields?: Record<string, string[]>,
   *   reply_kept?: boolean}} body
   * @param {number} [status] of the answer, 0 where it is an event of a stream
   * @param {number | null} [retryAfter] seconds
   */
  constructor(body, status = 0, retryAfter = null) {
    super(body.error);
    this.name = "ChatError";
    this.code = body.code;
    this.fields = body.fields ?? {};
    this.replyKept = body.reply_kept ?? false; // what there was of a reply that failed
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** The calls of one server, as one user. */
export class Client {
  #cookie = "";

  /**
   * @param {{server?: string, token?: string, fetch?: typeof fetch}} [options] `server` is its
   *   origin, by default the page's own; without a `token` the session's cookie says who it is,
   *   which the client keeps by itself where it runs in no browser
   */
  constructor({ server = "", token, fetch = globalThis.fetch } = {}) {
    this.server = server.replace(/\/$/, "");
    this.token = token;
    this.fetch = fetch.bind(globalThis);
  }

  /**
   * Make any call; return its answer, refused ones as a `ChatError`.
   *
   * @param {string} method
   * @param {string} path
   * @param {{body?: object, query?: Record<string, string | number | boolean | undefined>,
   *   headers?: Record<string, string>, signal?: AbortSignal}} [options]
   * @returns {Promise<Response>}
   */
  async request(method, path, { body, query = {}, headers = {}, signal } = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined);
    const search = given.length ? `?${new URLSearchParams(given.map(([k, v]) => [k, `${v}`]))}` : "";
    const answer = await this.fetch(this.server + path + search, {
      method, signal, body: body && JSON.stringify(body),
      credentials: this.token ? "omit" : "include",
      headers: {
        ...(body && { "Content-Type": "application/json" }),
        ...(this.token && { Authorization: `Bearer ${this.token}` }),
        ...(this.#cookie && { Cookie: this.#cookie }),
        ...headers,
      },
    }).catch(lost(signal));
    // A browser keeps cookies by itself, and shows none of them.
    this.#cookie = answer.headers.get("Set-Cookie")?.match(/\bsessionid=[^;]*/)?.[0] ?? this.#cookie;
    if (answer.ok) return answer;
    const told = await answer.json().catch(() => null);
    if (!told?.code) throw unreadable(answer);
    throw new ChatError(told, answer.status, Number(answer.headers.get("Retry-After")) || null);
  }

  /**
   * Make any call; return the JSON that it is answered with.
   *
   * @param {string} method
   * @param {string} path
   * @param {Parameters<Client["request"]>[2]} [options]
   * @returns {Promise<any>}
   */
  async call(method, path, options) {
    const answer = await this.request(method, path, options);
    return parse(await answer.text().catch(lost(options?.signal)), answer);
  }

  /** @param {string} username @param {string} email @param {string} password */
  async register(username, email, password) {
    await this.call("POST", "/auth/register/", { body: { username, email, password } });
  }

  /** @param {string} username or the e-mail address @param {string} password @returns {Promise<User>} */
  async login(username, password) {
    return (await this.call("POST", "/auth/login/", { body: { username, password } })).user;
  }

  async logout() {
    await this.call("POST", "/auth/logout/");
  }

  /** @returns {Promise<User | null>} who is logged in */
  async user() {
    return (await this.call("GET", "/auth/status/")).user;
  }

  /** @param {{limit?: number, cursor?: string, archived?: boolean}} [query] @returns {Promise<{threads: ListedThread[], next: string | null}>} */
  threads(query) {
    return this.call("GET", "/chat/threads/", { query });
  }

  /** @param {ThreadSettings} [settings] @returns {Promise<Thread>} */
  async newThread(settings = {}) {
    return (await this.call("POST", "/chat/threads/new/", { body: settings })).thread;
  }

  /** @param {number} thread @param {ThreadSettings} settings @returns {Promise<Thread>} */
  changeThread(thread, settings) {
    return this.call("PATCH", `/chat/threads/${thread}/`, { body: settings });
  }

  /** @param {number} thread */
  async deleteThread(thread) {
    await this.call("DELETE", `/chat/threads/${thread}/delete/`);
  }

  /** @param {number} thread @param {{limit?: number, cursor?: string, leaf?: number}} [query] @returns {Promise<{messages: Message[], next: string | null}>} */
  messages(thread, query) {
    return this.call("GET", `/chat/threads/${thread}/messages/`, { query });
  }

  /** @returns {Promise<{models: {name: string}[], default: string}>} */
  models() {
    return this.call("GET", "/chat/models/");
  }

  /**
   * Send a message; the reply is read with `for await`.
   *
   * @param {number | "new"} thread "new" begins one, with the settings among the options
   * @param {string} message
   * @param {SendOptions & ThreadSettings} [options]
   */
  send(thread, message, { signal, key = randomKey(), ...rest } = {}) {
    const path = `/chat/streaming-response/${thread}/`;
    const headers = { "Idempotency-Key": key };
    return new Reply(this, { path, body: { message, ...rest }, headers, signal });
  }

  /** Have a question answered once more. @param {number} thread @param {{message_id?: number, model?: string, options?: Options, signal?: AbortSignal}} [options] */
  regenerate(thread, { signal, ...body } = {}) {
    const headers = { "Idempotency-Key": randomKey() };
    return new Reply(this, { path: `/chat/threads/${thread}/regenerate/`, body, headers, signal });
  }

  /** Have a reply go on that was cut short. @param {number} thread @param {Message} reply @param {AbortSignal} [signal] */
  continue(thread, reply, signal) {
    const body = { message_id: reply.id };
    return new Reply(this, { thread, path: `/chat/threads/${thread}/continue/`, body, signal }, reply);
  }

  /** Follow a reply that is being written, from where `reply` is, as messages() gave it. @param {number} thread @param {Message} reply @param {AbortSignal} [signal] */
  follow(thread, reply, signal) {
    return new Reply(this, { thread, signal }, reply);
  }

  /** Stop the reply that is being written; return whether there was one. @param {number} thread */
  async stop(thread) {
    return (await this.call("POST", `/chat/threads/${thread}/stop/`)).status === "stopped";
  }

  /**
   * What happens to the user's threads, in whatever tab and on whatever device, over lost connections.
   *
   * Load the list of threads at `start` and at `reload`. It goes on until `signal` ends it.
   *
   * @param {AbortSignal} [signal]
   * @returns {AsyncGenerator<ThreadEvent, void, void>}
   */
  async *events(signal) {
    for (let tries = 0, last = ""; !signal?.aborted; tries += 1) {
      try {
        const headers = { Accept: NDJSON, ...(last && { "Last-Event-ID": last }) };
        const answer = await this.request("GET", "/chat/events/", { headers, signal });
        for await (const event of lines(answer, signal)) {
          const isNews = event.type !== "start" || !last;
          [tries, last] = [0, event.event_id ?? last];
          if (isNews) yield event;
        }
      } catch (error) {
        if (signal?.aborted) return;
        if (!passes(error, true)) throw error;
      }
      await pause(tries);
    }
  }
}

/**
 * A reply as it is written: an async iterable of its events, over lost connections.
 *
 * `text`, `thinking` and `status` are always what is true by now, a `rewind` included. A reply that
 * fails throws a `ChatError`. Whoever leaves the loop stops reading, not the reply.
 */
export class Reply {
  /** @type {number | null} */ id = null;
  /** @type {number | null} */ messageId = null;
  /** @type {Usage | null} */ usage = null;
  #hasBegun = false;

  /**
   * @param {Client} client
   * @param {{path?: string, thread?: number, body?: object, headers?: Record<string, string>,
   *   signal?: AbortSignal}} how without a `path` it is followed
   * @param {Message} [before] what there is of it
   */
  constructor(client, how, before) {
    this.client = client;
    this.how = how;
    this.thread = how.thread ?? null;
    this.id = before?.id ?? null;
    /** @type {Status} */ this.status = before?.status ?? "generating";
    this.text = before?.content ?? "";
    this.thinking = before?.thinking ?? "";
    this.offset = [...this.text].length; // in characters, which is not in UTF-16
  }

  /** @returns {AsyncGenerator<ReplyEvent, void, void>} */
  async *[Symbol.asyncIterator]() {
    const { path, headers, signal } = this.how;
    for (let tries = 0; ; tries += 1) {
      try {
        for await (const event of lines(await this.#open(), signal)) {
          tries = 0;
          if (this.#take(event)) yield event;
          if (event.type === "end") return;
        }
        throw new ChatError(UNREACHABLE); // it has ended without an end
      } catch (error) {
        const isSafe = this.#hasBegun || !path || headers?.["Idempotency-Key"];
        if (!isSafe || tries >= MOST_TRIES || !passes(error, this.#hasBegun)) {
          if (this.id === null) this.status = "failed";
          throw error;
        }
      }
      await pause(tries);
    }
  }

  /** Read to the end. @returns {Promise<string>} the text */
  async whole() {
    for await (const _ of this);
    return this.text;
  }

  async #open() {
    const { path, body, signal } = this.how;
    const headers = { Accept: NDJSON, ...this.how.headers };
    if (!this.#hasBegun && path) return this.client.request("POST", path, { body, headers, signal });
    const followed = `/chat/streaming-response/${this.thread}/`;
    const answer = await this.client.request("GET", followed, { query: { offset: this.offset }, headers, signal });
    if (answer.status === 204) throw new ChatError(GONE, 204);
    return answer;
  }

  /** @param {ReplyEvent} event @returns {boolean} whether it is news */
  #take(event) {
    if (event.type === "start") {
      const isNew = !this.#hasBegun;
      if (this.id !== null && this.id !== event.reply_id) throw new ChatError(GONE, 204);
      this.#hasBegun = true;
      [this.id, this.messageId] = [event.reply_id, event.message_id];
      [this.thread, this.status] = [event.thread_id, "generating"];
      if (!this.offset) this.thinking = ""; // which then comes again
      return isNew;
    }
    if (event.type === "thinking") this.thinking += event.text;
    if (event.type === "delta") this.text += event.text;
    if (event.type === "rewind") {
      this.text = [...this.text].slice(0, event.offset).join("");
      if (!event.offset) this.thinking = "";
    }
    if (event.type === "delta" || event.type === "rewind") this.offset = event.offset;
    if (event.type === "end") [this.status, this.usage] = [event.status, event.usage];
    if (event.type === "error") {
      this.status = ENDINGS[event.code] ?? "failed";
      throw new ChatError(event);
    }
    return true;
  }
}

/** What a reply is after an error. @type {Record<string, Status>} */
const ENDINGS = { reply_interrupted: "interrupted", not_authenticated: "generating" };
const UNREACHABLE = { error: "The server cannot be reached. Check the connection and try again.", code: "unreachable" };
const GONE = { error: "Another reply has taken the place of this one.", code: "reply_gone" };

/** Throw what a connection was lost by, unless `signal` did it. @param {AbortSignal} [signal] @returns {(error: unknown) => never} */
const lost = (signal) => (error) => {
  throw signal?.aborted ? error : Object.assign(new ChatError(UNREACHABLE), { cause: error });
};

/** @param {Response} answer that is none of the server's */
const unreadable = ({ status }) =>
  new ChatError({ error: `The server's answer (${status}) cannot be read.`, code: "unreadable" }, status);

/** Return whether it passes by itself: a lost connection, a proxy's page, a server that begins. @param {unknown} error @param {boolean} isKnown whether the server has answered before */
function passes(error, isKnown) {
  if (!(error instanceof ChatError)) return false;
  const isProxys = error.code === "unreadable" && error.status >= 500;
  return error.code === "unreachable" || isProxys || (isKnown && error.status === 503);
}

/** @param {string} text @param {Response} answer @returns {any} */
function parse(text, answer) {
  try {
    return JSON.parse(text);
  } catch {
    throw unreadable(answer);
  }
}

/** @param {number} tries that have failed in a row @returns {Promise<void>} */
const pause = (tries) =>
  new Promise((wake) => setTimeout(wake, Math.min(LONGEST_WAIT, 250 * 2 ** tries)));

/** @returns {string} */
const randomKey = () =>
  Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("-");

/** Read the lines of a stream as JSON. @param {Response} answer @param {AbortSignal} [signal] @returns {AsyncGenerator<any, void, void>} */
async function* lines(answer, signal) {
  if (!answer.headers.get("Content-Type")?.startsWith(NDJSON)) throw unreadable(answer);
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    while (reader) {
      const { done, value } = await reader.read().catch(lost(signal));
      if (done) return;
      const whole = (rest + value).split("\n");
      rest = whole.pop() ?? "";
      for (const line of whole) if (line) yield parse(line, answer);
    }
  } finally {
    await reader?.cancel().catch(() => {});
  }
}
