/** The page: who is logged in, and what the address shows. `#/thread/7` is a thread, `#/` a new one. */

import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { h, iconButton, notify, say } from "./dom.js";
import { listen } from "./events.js";
import { attempt, client, words } from "./server.js";
import { ThreadList } from "./threads.js";

/** @typedef {import("../client/client.js").User} User */

const root = /** @type {HTMLElement} */ (document.querySelector("#app"));
/** @type {AbortController | null} */
let session = null; // of the page: aborted when nobody is logged in any more

/** @param {string} [reason] */
const askWho = (reason) => attempt(async () => {
  const { showLogin } = await import("./login.js");
  if (!session) showLogin(root, enter, reason);
});

/** @param {string} [reason] */
function leave(reason) {
  session?.abort();
  session = null;
  for (const open of document.querySelectorAll("dialog")) open.close();
  askWho(reason);
}

/** Show the chat to a user. @param {User} user */
function enter(user) {
  session?.abort();
  const controller = (session = new AbortController());
  const { signal } = controller;
  const list = new ThreadList(user, { leave, changed: (thread) => conversation.rename(thread) });
  const composer = new Composer(user);
  const conversation = new Conversation(composer, list);
  const sidebar = h("nav", { id: "sidebar", "aria-label": "Conversations" }, ...list.elements);
  const showSidebar = iconButton("menu", "Conversations", () => toggle(true), { class: "icon show-sidebar", "aria-controls": "sidebar" });

  /** @param {boolean} open */
  const toggle = (open) => {
    const covers = open && matchMedia("(max-width: 50rem)").matches;
    root.classList.toggle("with-sidebar", covers);
    main.inert = covers;
    if (open) (matchMedia("(pointer: coarse)").matches ? sidebar.querySelector("a") : list.search)?.focus(); // without a keyboard on the screen
    else if (document.activeElement === document.body || sidebar.contains(document.activeElement)) composer.focus();
  };
  sidebar.onclick = ({ target }) => { if (/** @type {Element} */ (target).closest("a")) toggle(false); };
  const main = h("main", {}, h("header", { class: "bar" }, showSidebar, ...conversation.bar), conversation.element);
  root.className = "chat";
  root.replaceChildren(h("a", { class: "skip", href: "#message", onclick: (/** @type {Event} */ event) => { event.preventDefault(); composer.focus(); } }, "To the message box"),
    sidebar, h("div", { class: "shade", onclick: () => toggle(false) }), main);

  const route = async () => {
    const [, page, id, message] = location.hash.split("/");
    toggle(false);
    list.select(page === "thread" ? Number(id) : null);
    await attempt(() => conversation.open(page === "thread" ? Number(id) : null, message ? Number(message) : undefined));
  };
  addEventListener("hashchange", route, { signal });
  addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape" && root.matches(".with-sidebar:not(:has(:popover-open))")) toggle(false);
    if (!(event.ctrlKey || event.metaKey)) return;
    if (event.key === "k") { event.preventDefault(); toggle(true); list.search.focus(); }
    if (event.key.toLowerCase() === "o" && event.shiftKey) { event.preventDefault(); location.hash = "#/"; composer.focus(); }
  }, { signal });
  signal.addEventListener("abort", () => conversation.close());
  listen(user, signal, (event) => { list.take(event); conversation.take(event); });
  setTimeout(() => list.isLoaded || attempt(() => list.load()), 300); // the stream's start does, but another tab may hold that
  route();
}

document.addEventListener("sessionended", () => {
  if (session) leave("Your session has ended. Log in again to go on: what you were writing is still there.");
});
addEventListener("hashchange", () => { if (!session) askWho(); });
document.addEventListener("reachable", () => say("The server can be reached again."));

async function begin() {
  try {
    const user = await client.user();
    user ? enter(user) : await askWho();
  } catch (error) {
    notify(words(error), { error: true, action: { label: "Try again", run: begin } });
  }
}
begin();
