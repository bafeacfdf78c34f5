/** The box in which one writes. What is in it is kept for each thread until it has arrived. */

import { h, iconButton, kept } from "./dom.js";

/** @typedef {{text: string, key: string, sent?: boolean, name?: string}} Draft - `key` makes sending it again safe */

export class Composer {
  /** @type {(draft: Draft) => void} */ onsend = () => {};
  /** @type {() => void} */ onstop = () => {};
  #name = "";
  #busy = false;

  /** @param {{id: number}} user */
  constructor(user) {
    this.user = user;
    this.input = h("textarea", { id: "message", rows: 1, dir: "auto", placeholder: "Write a message", "aria-label": "Message", enterKeyHint: "send" });
    this.button = iconButton("send", "Send", () => (this.#busy ? this.onstop() : this.#send()), { class: "icon primary", type: "button" });
    this.note = h("p", { class: "note" });
    this.element = h("form", { class: "composer" }, this.note, h("div", { class: "box" }, this.input, this.button));
    this.element.onsubmit = (event) => event.preventDefault();
    this.input.oninput = () => { this.#keep(); this.#fit(); };
    this.input.onkeydown = (event) => {
      const isLine = event.shiftKey || event.isComposing || matchMedia("(pointer: coarse)").matches;
      if (event.key === "Escape" && this.#busy) this.onstop();
      if (event.key !== "Enter" || isLine) return;
      event.preventDefault();
      if (!this.#busy) this.#send();
    };
  }

  /** Write to this thread from now on, null for a new one. @param {number | null} thread */
  use(thread) {
    this.#name = `draft-${this.user.id}-${thread ?? "new"}`;
    this.input.value = this.draft?.text ?? "";
    this.say("");
    this.#fit();
  }

  /** @returns {Draft | null} */
  get draft() {
    return kept.get(this.#name);
  }

  focus() {
    if (!matchMedia("(pointer: coarse)").matches) this.input.focus();
  }

  /** Say what is in the way of sending. @param {string} text @param {HTMLElement} [action] */
  say(text, action) {
    this.note.replaceChildren(text, ...(action ? [" ", action] : []));
  }

  /** Whether a reply is being written, and the button stops it. @param {boolean} busy */
  set busy(busy) {
    this.#busy = busy;
    const fresh = iconButton(busy ? "stop" : "send", busy ? "Stop" : "Send", () => {});
    this.button.replaceChildren(...fresh.children);
    this.button.title = busy ? "Stop (Esc)" : "Send";
    this.button.setAttribute("aria-label", busy ? "Stop" : "Send");
    this.#fit();
  }

  /** It has arrived: forget it, wherever one has gone since. @param {Draft} draft */
  arrived({ name = this.#name, key }) {
    if (kept.get(name)?.key === key) kept.set(name, null);
  }

  /** It has not arrived: put it back. @param {Draft} draft */
  restore(draft) {
    kept.set(this.#name, { text: draft.text, key: draft.key });
    this.input.value = draft.text;
    this.#fit();
    this.focus();
  }

  #send() {
    const text = this.input.value.trim();
    if (!text) return;
    const draft = { text, key: this.draft?.text.trim() === text ? this.draft.key : newKey(), sent: true, name: this.#name };
    kept.set(this.#name, draft);
    this.input.value = "";
    this.#fit();
    this.onsend(draft);
  }

  #keep() {
    const text = this.input.value;
    kept.set(this.#name, text.trim() ? { text, key: newKey() } : null);
  }

  #fit() {
    this.button.disabled = !this.#busy && !this.input.value.trim();
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(this.input.scrollHeight, innerHeight * 0.4)}px`;
  }
}

/** Not randomUUID, which is there over HTTPS only. */
const newKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (number) => number.toString(36)).join("-");
