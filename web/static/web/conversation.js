/** One conversation: its messages, what is written and read, and how it goes on after any trouble. */

import { confirmed, h, iconButton, menu, notify, say } from "./dom.js";
import { MessageView } from "./message.js";
import { Scroller } from "./scroller.js";
import { attempt, ChatError, client, countDown, words } from "./server.js";

/**
 * @typedef {import("./message.js").Message} Message
 * @typedef {import("./composer.js").Draft} Draft
 * @typedef {import("../client/client.js").Reply} Reply
 */

const PAGE = 40; // messages
const LOST = ["unreachable", "unreadable"]; // codes of errors that say nothing of the reply

export class Conversation {
  /** @type {number | null} */ thread = null;
  /** @type {Record<string, any>} */ settings = {}; // of a new thread, or of this one
  /** @type {Map<number, MessageView>} */ #views = new Map();
  /** @type {Message[]} */ #messages = [];
  /** @type {AbortController | null} */ #reading = null;
  /** @type {string | null} */ #older = null;
  #usual = ""; // model
  #opened = 0; // how often; what was asked for before is no longer wanted
  #refresh = 0;

  /** @param {import("./composer.js").Composer} composer @param {import("./threads.js").ThreadList} list */
  constructor(composer, list) {
    this.composer = composer;
    this.list = list;
    this.title = h("h1", { dir: "auto" });
    this.model = h("button", { type: "button", class: "quiet model", title: "Model and settings", onclick: () => this.#change() });
    const more = menu(iconButton("more", "Conversation", () => {}), () => [
      { label: "Model and settings", icon: "settings", run: () => this.#change() },
      ...(this.thread === null ? [] : list.choices(this.thread)),
    ]);
    this.bar = [this.title, this.model, more];
    this.scroller = new Scroller(() => attempt(() => this.#loadOlder()));
    this.element = h("section", { class: "conversation" }, this.scroller.element, h("div", { class: "foot" }, this.scroller.jump, composer.element));
    client.models().then(({ default: usual }) => { this.#usual = usual; this.#head(this.settings.title); }, () => {});
    composer.onsend = (draft) => this.#send(draft);
    composer.onstop = () => attempt(() => client.stop(/** @type {number} */ (this.thread)));
  }

  /** Show a thread, null for a new one, and a message of it. @param {number | null} thread @param {number} [message] */
  async open(thread, message) {
    if (thread !== null && thread === this.thread && this.#reading && !message) return; // it has just begun
    this.close();
    const opened = this.#opened;
    this.thread = thread;
    this.settings = {};
    this.#show([]);
    this.composer.use(thread);
    this.composer.busy = this.composer.element.hidden = false;
    this.#head("");
    this.element.classList.toggle("new", thread === null);
    this.composer.focus();
    if (thread === null) {
      this.scroller.content.replaceChildren(h("h2", { class: "welcome" }, "What would you like to talk about?"));
      return;
    }
    try {
      if (message) await client.call("PUT", `/chat/threads/${thread}/branch/`, { body: { message_id: message } });
      const [settings, page] = await Promise.all([client.call("GET", `/chat/threads/${thread}/`), client.messages(thread, { limit: message ? 200 : PAGE })]);
      if (opened !== this.#opened) return;
      this.settings = settings;
      this.#head(settings.title);
      this.#take(page);
      const view = message && this.#views.get(message);
      if (view) { this.scroller.follows = false; history.replaceState(null, "", `#/thread/${thread}`); view.element.classList.add("found"); view.element.scrollIntoView({ block: "center" }); view.element.focus(); }
    } catch (error) {
      if (opened !== this.#opened) return;
      const isGone = (this.composer.element.hidden = error instanceof ChatError && error.status === 404);
      this.scroller.content.replaceChildren(h("div", { class: "welcome" }, h("p", { role: "alert" }, isGone ? "This conversation does not exist any more." : words(error)),
        h("button", { type: "button", class: "quiet", onclick: () => (isGone ? (location.hash = "#/") : this.open(thread, message)) }, isGone ? "Begin a new one" : "Try again")));
    }
  }

  /** Stop reading; what is written goes on. */
  close() {
    this.#opened += 1;
    this.#reading?.abort();
    this.#reading = null;
    this.scroller.follows = true;
    clearTimeout(this.#refresh);
  }

  /** Something has happened, maybe in another tab. @param {import("./events.js").ThreadEvent} event */
  take(event) {
    if (event.type === "thread" && event.id === this.thread) this.#head(event.title);
    if (event.type === "thread_deleted" && event.id === this.thread) location.hash = "#/";
    const isAbout = event.type === "reload" || (event.type === "thread" ? event.id : event.thread_id) === this.thread;
    if (!isAbout || this.thread === null || this.#reading) return;
    clearTimeout(this.#refresh);
    this.#refresh = setTimeout(() => this.refresh().catch(() => {}), 200);
  }

  /** @param {{id: number, title: string}} thread */
  rename(thread) {
    if (thread.id === this.thread) this.#head(thread.title);
  }

  /** Get what there is now, and follow what is being written. */
  async refresh() {
    const [opened, thread] = [this.#opened, this.thread];
    if (thread === null) return;
    const page = await client.messages(thread, { limit: Math.min(200, Math.max(PAGE, this.#messages.length)) });
    if (opened === this.#opened) this.#take(page);
  }

  /** @param {{messages: Message[], next: string | null}} page */
  #take({ messages, next }) {
    const known = this.#messages.findIndex(({ id }) => id === messages[0]?.id);
    const before = known > 0 ? this.#messages.slice(0, known) : [];
    if (!before.length) this.#older = next;
    this.#show([...before, ...messages]);
    const { draft } = this.composer;
    if (draft?.sent && messages.some(({ sender, content }) => sender === "user" && content.trim() === draft.text)) {
      this.composer.arrived(draft);
      this.composer.use(this.thread);
    }
    const last = messages.at(-1);
    if (last?.status === "generating" && last.sender === "bot" && !this.#reading) {
      this.#read((signal) => client.follow(/** @type {number} */ (this.thread), last, signal), this.#views.get(last.id));
    }
  }

  /** @param {Message[]} messages */
  #show(messages) {
    this.#messages = messages;
    const views = messages.map((message) => {
      const view = this.#views.get(message.id) ?? new MessageView(message, this.#actions);
      view.show(message);
      return view;
    });
    this.#views = new Map(views.map((view) => [view.message.id, view]));
    this.scroller.show(views.map(({ element }) => element));
  }

  /** @param {Draft} draft */
  #send(draft) {
    const [thread, parent] = [this.thread, this.#messages.at(-1)?.id ?? null];
    this.#ask(draft, this.#messages, thread === null ? { ...this.settings } : {}, parent);
  }

  /** Send a message after those that stay. @param {Draft} draft @param {Message[]} stay @param {object} more @param {number | null} parent */
  #ask(draft, stay, more, parent) {
    const [question, answer] = [newMessage("user", draft.text, parent), newMessage("bot", "", -1)];
    const before = this.#messages;
    this.scroller.follows = true;
    this.#show([...stay, question, answer]);
    const thread = this.thread ?? "new";
    this.#read((signal) => client.send(thread, draft.text, { ...more, key: draft.key, signal }), this.#views.get(answer.id), {
      began: (reply) => {
        this.composer.arrived(draft);
        this.#rename(question, /** @type {number} */ (reply.messageId));
        this.#rename(answer, /** @type {number} */ (reply.id));
      },
      refused: (error) => {
        this.#show(before);
        if (error instanceof ChatError && error.code === "idempotency_key_reused") draft.key = `${draft.key}-${Date.now()}`;
        this.composer.restore(draft);
      },
    });
  }

  /** A message has arrived, and has its id now. @param {Message} message @param {number} id */
  #rename(message, id) {
    const view = this.#views.get(message.id);
    this.#views.delete(message.id);
    message.id = id;
    if (view) { this.#views.set(id, view); view.element.id = `message-${id}`; }
  }

  /**
   * Read a reply to its end, into its view.
   *
   * @param {(signal: AbortSignal) => Reply} ask @param {MessageView} [view]
   * @param {{began?: (reply: Reply) => void, refused?: (error: unknown) => void}} [hooks]
   */
  async #read(ask, view, { began, refused } = {}) {
    this.#reading?.abort();
    const controller = (this.#reading = new AbortController());
    const [opened, reply] = [this.#opened, ask(controller.signal)];
    const isCurrent = () => opened === this.#opened && this.#reading === controller;
    let isBegun = !began;
    this.composer.busy = true;
    this.composer.say("");
    view?.wait("Thinking …");
    try {
      for await (const event of reply) {
        if (!isCurrent()) return;
        if (event.type === "start" && !isBegun) { isBegun = true; began?.(reply); this.#enter(reply); }
        if (event.type === "queued") view?.wait(event.position ? `Waiting for a free model: ${event.position} before you` : "Your turn comes next …");
        if (event.type === "thinking" || event.type === "delta" || event.type === "rewind") view?.grow(reply, () => this.scroller.stick());
      }
      say("The answer is complete.");
      this.list.take({ type: "reply_ended", thread_id: reply.thread ?? 0 });
    } catch (error) {
      if (!isCurrent()) return;
      const isRefused = error instanceof ChatError && !LOST.includes(error.code) && !error.replyKept && !reply.text;
      if (!isBegun || isRefused) refused?.(error);
      this.#explain(error);
    }
    if (!isCurrent()) return;
    this.#reading = null;
    this.composer.busy = false;
    if (isBegun) await this.refresh().catch((error) => this.#explain(error));
  }

  /** A new thread has got its id. @param {Reply} reply */
  #enter(reply) {
    if (this.thread !== null || reply.thread === null) return;
    this.thread = reply.thread;
    this.composer.use(this.thread);
    this.element.classList.remove("new");
    history.replaceState(null, "", `#/thread/${this.thread}`);
    this.list.select(this.thread);
    attempt(async () => {
      this.settings = await client.call("GET", `/chat/threads/${this.thread}/`);
      this.#head(this.settings.title);
      this.list.put({ ...this.settings, running_reply_id: this.#reading ? reply.id : null });
    });
  }

  /** Say above the box what went wrong, and offer what helps. @param {unknown} error */
  #explain(error) {
    const button = (/** @type {string} */ label, /** @type {() => unknown} */ onclick) => h("button", { type: "button", class: "link", onclick }, label);
    const code = error instanceof ChatError ? error.code : "";
    const opened = this.#opened;
    let action = code && !LOST.includes(code) ? undefined : button("Try again", () => attempt(() => this.refresh()));
    if (code === "model_missing") action = button("Choose another model", () => this.#change());
    if (code === "reply_gone" || (error instanceof ChatError && error.status === 401)) return;
    this.note?.abort();
    const note = (this.note = new AbortController());
    countDown(error, (text) => { if (opened === this.#opened && !note.signal.aborted) this.composer.say(text, text ? action : undefined); });
  }

  /** @type {AbortController | undefined} */ note;

  /** @param {string} title */
  #head(title) {
    const name = title || "New conversation";
    this.title.textContent = name;
    document.title = this.thread === null ? "Llama Chatbot" : `${name} – Llama Chatbot`;
    this.model.textContent = (this.settings.model || this.#usual).replace(/:latest$/, "") || "Model";
  }

  async #change() {
    const changes = await attempt(async () => (await import("./settings.js")).threadSettings(this.settings, this.thread === null));
    if (!changes) return;
    this.settings = changes;
    this.#head(changes.title ?? "");
    if (this.thread !== null) this.list.put(/** @type {any} */ (changes));
  }

  async #loadOlder() {
    const [opened, cursor] = [this.#opened, this.#older];
    if (this.thread === null || cursor === null) return;
    this.#older = null;
    const page = await client.messages(this.thread, { limit: PAGE, cursor }).catch((error) => { this.#older = cursor; throw error; });
    if (opened !== this.#opened) return;
    this.#older = page.next;
    this.#show([...page.messages, ...this.#messages]);
  }

  /** @type {import("./message.js").Actions} */
  #actions = {
    edit: (message, text) => {
      const at = this.#messages.findIndex(({ id }) => id === message.id);
      this.#ask({ text, key: crypto.getRandomValues(new Uint32Array(4)).join("-") }, this.#messages.slice(0, at), { parent_id: message.parent_id }, message.parent_id);
    },
    regenerate: (message, model) => {
      const [before, at] = [this.#messages, this.#messages.findIndex(({ id }) => id === message.id)];
      const answer = newMessage("bot", "", message.parent_id);
      this.#show([...before.slice(0, at), answer]);
      this.#read((signal) => client.regenerate(/** @type {number} */ (this.thread), { message_id: message.id, ...(model && { model }), signal }), this.#views.get(answer.id),
        { began: (reply) => this.#rename(answer, /** @type {number} */ (reply.id)), refused: () => this.#show(before) });
    },
    chooseModel: async (message) => {
      const model = await attempt(async () => (await import("./settings.js")).chooseModel(message.model ?? ""));
      if (model) this.#actions.regenerate(message, model);
    },
    proceed: (message) => {
      const view = this.#views.get(message.id);
      const [before, writing] = [this.#messages, /** @type {Message} */ ({ ...message, status: "generating" })];
      this.#show(before.map((each) => (each.id === message.id ? writing : each)));
      this.#read((signal) => client.continue(/** @type {number} */ (this.thread), message, signal), view, { began: () => {}, refused: () => this.#show(before) });
    },
    step: (id) => attempt(async () => {
      await client.call("PUT", `/chat/threads/${this.thread}/branch/`, { body: { message_id: id } });
      this.scroller.follows = false;
      await this.refresh();
      const view = this.#views.get(id);
      view?.element.scrollIntoView({ block: "nearest" });
      /** @type {HTMLElement | null | undefined} */ (view?.tools.querySelector(".siblings button:not(:disabled)"))?.focus();
    }),
    fork: (message) => attempt(async () => {
      const { thread } = await client.call("POST", `/chat/threads/${this.thread}/fork/`, { body: { message_id: message.id } });
      this.list.put(thread);
      location.hash = `#/thread/${thread.id}`;
      notify("This is a conversation of its own now.");
    }),
    remove: async (message) => {
      if (!(await confirmed("Delete this message and all that follows it?"))) return;
      await attempt(async () => {
        await client.call("DELETE", `/chat/threads/${this.thread}/messages/${message.id}/`);
        await this.refresh();
        this.composer.focus();
      });
    },
    rate: (message, rating) => attempt(async () => {
      await client.call("PUT", `/chat/threads/${this.thread}/messages/${message.id}/feedback/`, { body: { rating } });
      await this.refresh();
    }),
  };
}

let unsent = 0; // messages, whose ids are negative

/** @param {"user" | "bot"} sender @param {string} content @param {number | null} parent_id @returns {Message} */
function newMessage(sender, content, parent_id) {
  return /** @type {Message} */ ({ id: --unsent, sender, content, parent_id, thinking: "", status: "generating", created_at: new Date().toISOString(), model: null, usage: null });
}
