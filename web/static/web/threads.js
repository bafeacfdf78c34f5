/** The list of conversations, and the search in them. */

import { asked, confirmed, h, icon, iconButton, kept, menu, notify } from "./dom.js";
import { attempt, client } from "./server.js";

/**
 * @typedef {import("../client/client.js").User} User
 * @typedef {import("../client/client.js").Thread & {pinned?: boolean, archived?: boolean, expires_at?: string | null,
 *   preview?: string, running_reply_id?: number | null}} Thread
 * @typedef {import("./dom.js").Choice} Choice
 */

const GROUPS = /** @type {[string, (thread: Thread, age: number) => boolean][]} */ ([
  ["Pinned", (thread) => Boolean(thread.pinned)], ["Today", (_, age) => age < 1], ["Yesterday", (_, age) => age < 2],
  ["Last week", (_, age) => age < 7], ["Last month", (_, age) => age < 30], ["Older", () => true],
]);

const PAGE = 50; // threads, as the first view is to be small

export class ThreadList {
  /** @type {Map<number, Thread>} */ #threads = new Map();
  /** @type {Map<number, HTMLLIElement>} */ #items = new Map(); // which stay, as menus may be open
  /** @type {number | null} */ #selected = null;
  /** @type {string | null} */ #next = null;
  isLoaded = false;
  #archived = false;
  #query = "";

  /** @param {User} user @param {{leave: (reason?: string) => void, changed: (thread: Thread) => void}} hooks */
  constructor(user, hooks) {
    this.hooks = hooks;
    this.news = `news-${user.id}`; // threads with an answer that nobody has read
    this.search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search conversations", autocomplete: "off" });
    this.search.oninput = () => this.#search();
    this.search.onkeydown = (event) => {
      if (event.key === "ArrowDown") { event.preventDefault(); this.list.querySelector("a")?.focus(); }
    };
    this.list = h("div", { class: "threads" });
    this.list.onkeydown = (event) => this.#walk(event);
    const account = menu(h("button", { type: "button", class: "quiet account" }, icon("user"), h("span", {}, user.username)), () => [
      { label: "Account", icon: "user", run: () => attempt(async () => (await import("./account.js")).openAccount(user, hooks.leave)) },
      { label: this.#archived ? "Conversations" : "Archived conversations", icon: "archive", run: () => this.#turn() },
      { label: "Import conversations", icon: "upload", run: () => attempt(async () => (await import("./transfer.js")).openImport(() => this.load())) },
      { label: "Export everything", icon: "download", run: () => download("/auth/export/") },
      ...(user.is_staff ? [{ label: "Administration", icon: "settings", run: () => { location.href = `${client.server}/admin/`; } }] : []),
      { label: "Log out", icon: "out", run: () => attempt(async () => { await client.logout(); hooks.leave(); }) },
    ]);
    const fresh = h("a", { href: "#/", class: "button new", title: "New conversation (Ctrl+Shift+O)" }, icon("plus"), "New conversation");
    this.elements = [h("div", { class: "brand" }, h("img", { src: "static/web/llama.svg", alt: "", width: 28, height: 28 }), h("strong", {}, "Llama Chatbot")),
      fresh, h("div", { class: "search" }, icon("search"), this.search), this.list, h("div", { class: "me" }, account)];
    addEventListener("storage", ({ key }) => key === this.news && this.#show());
  }

  /** Show the archived conversations instead of the others, or these again. */
  #turn() {
    this.#archived = !this.#archived;
    attempt(() => this.load());
  }

  /** @param {string} [cursor] where to go on */
  async load(cursor) {
    const { threads, next } = await client.threads({ limit: PAGE, archived: this.#archived, cursor });
    if (!cursor) this.#threads.clear();
    for (const thread of threads) this.#threads.set(thread.id, thread);
    [this.isLoaded, this.#next] = [true, next];
    this.#show();
  }

  /** @param {number | null} id */
  select(id) {
    this.#selected = id;
    this.#hasNews(id, false);
    this.#show();
  }

  /** Show a thread as it is now. @param {any} thread */
  put(thread) {
    if (Boolean(thread.archived) === this.#archived) this.#threads.set(thread.id, { ...this.#threads.get(thread.id), ...thread });
    else this.#threads.delete(thread.id);
    this.#show();
  }

  /** @param {import("./events.js").ThreadEvent} event */
  take(event) {
    const thread = this.#threads.get(event.thread_id ?? 0);
    if (event.type === "start" || event.type === "reload") attempt(() => this.load());
    if (event.type === "thread") this.put(event);
    if (event.type === "thread_deleted") { this.#threads.delete(event.id ?? 0); this.#show(); }
    if (event.type === "reply_started" && thread) this.put({ ...thread, running_reply_id: event.reply_id });
    if (event.type !== "reply_ended" || !thread) return;
    if (event.thread_id !== this.#selected || document.hidden) this.#hasNews(thread.id, true);
    this.put({ ...thread, running_reply_id: null });
  }

  /** @param {number | null} id @param {boolean} news */
  #hasNews(id, news) {
    const ids = new Set(kept.get(this.news) ?? []);
    if (id !== null && ids.has(id) !== news) kept.set(this.news, news ? [...ids, id] : [...ids].filter((each) => each !== id));
  }

  /** What one can do with a thread. @param {number} id @returns {Choice[]} */
  choices(id) {
    const thread = this.#threads.get(id) ?? /** @type {Thread} */ ({ id });
    const change = (/** @type {object} */ changes) => attempt(async () => {
      const changed = await client.changeThread(id, changes);
      this.put(changed);
      this.hooks.changed(changed);
      return changed;
    });
    return [
      { label: "Rename", icon: "edit", run: async () => { const title = await asked("Rename the conversation", "Title", thread.title ?? ""); if (title) change({ title }); } },
      { label: thread.pinned ? "Unpin" : "Pin", icon: "pin", run: () => change({ pinned: !thread.pinned }) },
      { label: thread.archived ? "Back from the archive" : "Archive", icon: "archive", run: async () => {
        const changed = await change({ archived: !thread.archived });
        if (changed?.archived) notify("The conversation is archived: the menu of your account leads to it.");
      } },
      { label: "Export as text", icon: "download", run: () => download(`/chat/threads/${id}/export/`) },
      { label: "Export with all versions", icon: "download", run: () => download(`/chat/threads/${id}/export/?format=json`) },
      { label: "Delete", icon: "bin", danger: true, run: async () => {
        if (!(await confirmed(`Delete “${thread.title ?? "this conversation"}”?`))) return;
        await attempt(async () => {
          await client.deleteThread(id);
          this.take({ type: "thread_deleted", id });
          if (this.#selected === id) location.hash = "#/";
          notify("The conversation is deleted.");
        });
      } },
    ];
  }

  #show() {
    if (this.#query) return;
    const focused = /** @type {HTMLElement | null} */ (this.list.contains(document.activeElement) ? document.activeElement : null);
    const news = new Set(kept.get(this.news) ?? []);
    const midnight = new Date().setHours(24, 0, 0, 0);
    const sorted = [...this.#threads.values()].sort((one, other) => Number(other.pinned ?? 0) - Number(one.pinned ?? 0) || other.updated_at.localeCompare(one.updated_at));
    /** @type {Map<string, HTMLElement[]>} */
    const groups = new Map();
    for (const thread of sorted) {
      const age = (midnight - Date.parse(thread.updated_at)) / 86_400_000;
      const [group] = /** @type {[string, unknown]} */ (GROUPS.find(([, isIn]) => isIn(thread, age)));
      groups.set(group, [...(groups.get(group) ?? []), this.#item(thread, news.has(thread.id))]);
    }
    this.list.replaceChildren(
      ...(this.#archived ? [h("button", { type: "button", class: "quiet back", onclick: () => this.#turn() }, icon("left"), "All conversations"),
        h("p", { class: "empty" }, "Archived conversations")] : []),
      ...[...groups].map(([name, items]) => h("section", {}, h("h2", {}, name), h("ul", {}, ...items))),
      ...(groups.size ? [] : [h("p", { class: "empty" }, this.#archived ? "There are none." : "Your conversations will be here.")]),
      ...(this.#next ? [h("button", { type: "button", class: "quiet", onclick: () => attempt(() => this.load(this.#next ?? undefined)) }, "Show more")] : []));
    if (focused !== document.activeElement) focused?.focus();
  }

  /** @param {Thread} thread @param {boolean} hasNews */
  #item(thread, hasNews) {
    const mark = thread.running_reply_id ? ["running", "is being answered"] : hasNews ? ["news", "has a new answer"] : null;
    let item = this.#items.get(thread.id);
    if (!item) {
      const more = iconButton("more", "", () => {});
      item = h("li", {}, h("a", { href: `#/thread/${thread.id}` }), menu(more, () => this.choices(thread.id)));
      this.#items.set(thread.id, item);
    }
    const [link, more] = /** @type {[HTMLAnchorElement, HTMLButtonElement]} */ ([...item.children]);
    link.title = thread.preview || thread.title;
    thread.id === this.#selected ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    more.title = `What to do with “${thread.title}”`;
    more.setAttribute("aria-label", more.title);
    const parts = [h("span", { class: "title", dir: "auto" }, thread.title), thread.expires_at && h("span", { class: "mark" }, "temporary"),
      mark && h("span", { class: `dot ${mark[0]}` }, h("span", { class: "hidden-text" }, mark[1]))];
    link.replaceChildren(...parts.filter((part) => part instanceof Node));
    return item;
  }

  /** Go through the list by the arrow keys. @param {KeyboardEvent} event */
  #walk(event) {
    const links = [...this.list.querySelectorAll("a")];
    const at = links.indexOf(/** @type {HTMLAnchorElement} */ (document.activeElement?.closest("li")?.querySelector("a")));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    (links[to] ?? (to < 0 ? this.search : null))?.focus();
  }

  async #search() {
    const query = (this.#query = this.search.value.trim());
    if (!query) return this.#show();
    await new Promise((wake) => setTimeout(wake, 200));
    if (query !== this.#query) return;
    const found = await attempt(() => client.call("GET", "/chat/search/", { query: { q: this.search.value } }));
    if (!found || query !== this.#query) return;
    const items = found.results.map((/** @type {any} */ result) => h("li", {}, h("a", { href: `#/thread/${result.thread_id}${result.message_id ? `/${result.message_id}` : ""}` },
      h("span", { class: "title", dir: "auto" }, result.title), h("span", { class: "snippet", dir: "auto" }, ...marked(result)))));
    this.list.replaceChildren(h("p", { class: "empty", role: "status" }, items.length ? `${items.length}${found.next ? " and more" : ""} found` : "Nothing was found."), h("ul", {}, ...items));
  }
}

/** The text of a search's result, with what was searched for marked. @param {{snippet: string, highlights: [number, number][]}} result */
function marked({ snippet, highlights }) {
  const characters = [...snippet];
  let at = 0;
  return [...highlights.flatMap(([from, to]) => {
    const parts = [characters.slice(at, from).join(""), h("mark", {}, characters.slice(from, to).join(""))];
    at = to;
    return parts;
  }), characters.slice(at).join("")];
}

/** @param {string} path */
function download(path) {
  const link = h("a", { href: client.server + path, download: "" });
  document.body.append(link);
  link.click();
  link.remove();
}
