/** Elements, dialogs, menus and notices: the little that the page needs on top of the platform. */

/**
 * @typedef {Node | string | null | undefined | false} Child
 * @typedef {{label: string, icon?: string, danger?: boolean, run: () => unknown}} Choice
 */

const ICONS = {
  plus: "M12 5v14M5 12h14", search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.500 4.500",
  menu: "M4 7h16M4 12h16M4 17h16", more: "M5 11v2M12 11v2M19 11v2", close: "M6 6l12 12M18 6 6 18",
  send: "M12 19V5M6 11l6-6 6 6", stop: "M7 7h10v10H7z", copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  edit: "M4 20h4L19 9l-4-4L4 16z", again: "M4 12a8 8 0 0 1 14-5.300L20 9M20 4v5h-5M20 12a8 8 0 0 1-14 5.300L4 15M4 20v-5h5",
  up: "M7 11v9H4v-9zM7 11l4-8c1.500 0 2.500 1 2.200 2.500L12.500 9H19c1 0 1.700.9 1.500 2l-1.300 7c-.2 1.200-1 2-2.200 2H7",
  left: "M15 6l-6 6 6 6", right: "M9 6l6 6-6 6", down: "M6 9l6 6 6-6", pin: "M9 4h6l-1 6 3 3H7l3-3zM12 13v7",
  archive: "M4 5h16v4H4zM6 9v10h12V9M10 13h4", download: "M12 4v11M7 11l5 5 5-5M5 20h14", upload: "M12 16V5M7 9l5-5 5 5M5 20h14",
  bin: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5", fork: "M6 4v8a4 4 0 0 0 4 4h9M15 12l4 4-4 4", out: "M14 5H5v14h9M10 12h10M16 8l4 4-4 4",
  settings: "M5 8h9M18 8h1M5 16h1M10 16h9M16 6v4M8 14v4", check: "M5 12l5 5 9-10", user: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4 20c1-4 4-6 8-6s7 2 8 6",
};

/**
 * Make an element. Properties are set as they are; `class`, `role`, `aria-…` and `data-…` are attributes.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {Record<string, any>} [properties] @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name in element && !name.includes("-") && name !== "list") Object.assign(element, { [name]: value });
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child || child === "").map((child) => /** @type {Node | string} */ (child)));
  return element;
}

/** @param {string} name */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", /** @type {Record<string, string>} */ (ICONS)[name] ?? "");
  svg.append(path);
  return svg;
}

/** A button that is an icon. @param {string} name @param {string} label @param {(event: MouseEvent) => unknown} onclick @param {Record<string, any>} [more] */
export function iconButton(name, label, onclick, more = {}) {
  return h("button", { type: "button", class: "icon", title: label, "aria-label": label, onclick, ...more }, icon(name));
}

/** A button that copies a text. @param {string} label @param {() => string} text */
export function copyButton(label, text) {
  const button = iconButton("copy", label, async () => {
    await navigator.clipboard.writeText(text());
    say("Copied");
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1500);
  });
  return button;
}

/** A button that opens a menu of choices. @param {HTMLButtonElement} button @param {() => Choice[]} choices */
export function menu(button, choices) {
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "false");
  button.onclick = (event) => {
    event.stopPropagation();
    const items = choices().map(({ label, icon: name, danger, run }) =>
      h("button", { type: "button", role: "menuitem", tabIndex: -1, class: danger ? "danger" : "", onclick: () => { list.hidePopover(); run(); } }, name && icon(name), label));
    const list = h("div", { class: "menu", role: "menu", popover: "auto", "aria-label": button.getAttribute("aria-label") ?? button.textContent }, ...items);
    list.onkeydown = (key) => {
      const at = items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
      const to = { ArrowDown: at + 1, ArrowUp: at - 1 + items.length, Home: 0, End: items.length - 1 }[key.key];
      if (to === undefined) return key.key === "Tab" ? list.hidePopover() : undefined;
      key.preventDefault();
      items[to % items.length]?.focus();
    };
    list.ontoggle = ({ newState }) => {
      button.setAttribute("aria-expanded", `${newState === "open"}`);
      if (newState === "open") return;
      if (list.contains(document.activeElement) || document.activeElement === document.body) button.focus();
      list.remove();
    };
    (button.closest("dialog, nav, main") ?? document.body).append(list);
    list.showPopover();
    const [at, size] = [button.getBoundingClientRect(), list.getBoundingClientRect()];
    const below = at.bottom + size.height + 8 < innerHeight || at.top < size.height;
    list.style.top = `${below ? at.bottom + 4 : at.top - size.height - 4}px`;
    list.style.left = `${Math.max(8, Math.min(at.left, innerWidth - size.width - 8))}px`;
    items[0]?.focus();
  };
  return button;
}

let dialogs = 0;

/** Show a dialog until it is closed; resolves then, with the button that closed it. @param {string} title @param {Child[]} content @param {string} [kind] @returns {{element: HTMLDialogElement, closed: Promise<string>}} */
export function dialog(title, content, kind = "") {
  const heading = h("h2", { id: `dialog-${++dialogs}` }, title);
  const close = iconButton("close", "Close", () => element.close());
  const element = h("dialog", { class: kind, "aria-labelledby": heading.id }, h("header", {}, heading, close), ...content);
  element.onclick = (event) => { if (event.target === element) element.close(); };
  document.body.append(element);
  const opener = /** @type {HTMLElement | null} */ (document.activeElement);
  element.showModal();
  const closed = new Promise((resolve) => {
    element.onclose = () => { element.remove(); opener?.focus?.(); resolve(element.returnValue); };
  });
  return { element, closed };
}

/** Ask before something is done that cannot be undone. @param {string} question @param {string} [label] @returns {Promise<boolean>} */
export async function confirmed(question, label = "Delete") {
  const buttons = h("form", { method: "dialog", class: "buttons" },
    h("button", { value: "", class: "quiet" }, "Cancel"), h("button", { value: "yes", class: "danger", autofocus: true }, label));
  return (await dialog(question, [buttons], "small").closed) === "yes";
}

/** Ask for one line of text. @param {string} title @param {string} label @param {string} value @returns {Promise<string>} empty where it was cancelled */
export async function asked(title, label, value) {
  const input = h("input", { value, maxLength: 200, required: true, autofocus: true });
  const save = h("button", { value: "yes" }, "Save");
  const form = h("form", { method: "dialog" }, h("label", {}, label, input),
    h("div", { class: "buttons" }, h("button", { value: "", class: "quiet", formNoValidate: true }, "Cancel"), save));
  form.onkeydown = (event) => { if (event.key === "Enter") { event.preventDefault(); save.click(); } };
  const shown = dialog(title, [form], "small");
  input.select();
  return (await shown.closed) === "yes" ? input.value.trim() : "";
}

/** Have screen readers say something, politely. @param {string} text */
export function say(text) {
  const live = document.querySelector("#live");
  if (live) live.textContent = text;
}

/** Show a notice for some seconds, or until it is closed. @param {string} text @param {{error?: boolean, stays?: boolean, action?: Choice}} [how] */
export function notify(text, { error = false, stays = error, action } = {}) {
  const close = () => { clearTimeout(timer); notice.remove(); };
  const words = h("p", {}, text);
  const notice = h("div", { class: error ? "notice error" : "notice", role: error ? "alert" : "status" }, words,
    action && h("button", { type: "button", class: "quiet", onclick: () => { close(); action.run(); } }, action.label),
    iconButton("close", "Dismiss", close));
  const notices = /** @type {HTMLElement} */ (document.querySelector("#notices"));
  for (const before of notices.children) if (before.querySelector("p")?.textContent === text) before.remove();
  notices.append(notice);
  const timer = stays ? undefined : setTimeout(close, 6000);
  return { close, words };
}

/** A time in words. @param {string | null} iso */
export function ago(iso) {
  if (!iso) return "at an unknown time";
  const seconds = (Date.parse(iso) - Date.now()) / 1000;
  const format = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  for (const [unit, length] of /** @type {[Intl.RelativeTimeFormatUnit, number][]} */ ([["day", 86400], ["hour", 3600], ["minute", 60]])) {
    if (Math.abs(seconds) >= length) return format.format(Math.round(seconds / length), unit);
  }
  return seconds > 0 ? "in a moment" : "just now";
}

/** What is kept in the browser; where it keeps nothing, as in some private windows, for this page's life only. */
export const kept = {
  /** @type {Map<string, string>} */ memory: new Map(),
  /** @param {string} name @returns {any} */
  get(name) {
    try { return JSON.parse(localStorage.getItem(name) ?? this.memory.get(name) ?? "null"); } catch { return null; }
  },
  /** @param {string} name @param {unknown} value */
  set(name, value) {
    const text = JSON.stringify(value ?? null);
    try { value === null ? localStorage.removeItem(name) : localStorage.setItem(name, text); } catch { this.memory.set(name, text); }
  },
};
