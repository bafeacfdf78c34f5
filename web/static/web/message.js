/** One message as it is shown: its text, what one can do with it, and how it came about. */

import { ago, copyButton, h, iconButton, menu } from "./dom.js";
import { Markdown } from "./markdown.js";

/**
 * @typedef {import("../client/client.js").Message & {sibling_ids?: number[], context?: any, feedback?: {rating: number | null} | null}} Message
 * @typedef {{edit(message: Message, text: string): void, regenerate(message: Message, model?: string): void,
 *   chooseModel(message: Message): void, proceed(message: Message): void, step(id: number): void, fork(message: Message): void,
 *   remove(message: Message): void, rate(message: Message, rating: number | null): void}} Actions
 */

const ENDINGS = {
  stopped: "Stopped.", interrupted: "The server went away while this was being written.", failed: "The model failed here.", complete: "", generating: "",
};

export class MessageView {
  /** @type {Message | undefined} */ shown;
  #cost = 0; // ms that it took to show it
  #timer = 0;

  /** @param {Message} message @param {Actions} actions */
  constructor(message, actions) {
    this.actions = actions;
    this.message = message;
    this.isBot = message.sender === "bot";
    this.body = this.isBot ? new Markdown() : null;
    this.text = this.body?.element ?? h("div", { class: "as-written", dir: "auto" });
    this.thought = h("div", { class: "thought", dir: "auto" });
    this.summary = h("summary", {}, "Reasoning");
    this.thinking = h("details", { class: "thinking", hidden: true }, this.summary, this.thought);
    this.status = h("p", { class: "status" });
    this.tools = h("div", { class: "tools", role: "group", "aria-label": "What to do with this message" });
    this.element = h("article", { class: message.sender, "aria-label": this.isBot ? "Answer" : "Your message", tabIndex: -1 },
      this.thinking, this.text, this.status, this.tools);
    this.show(message);
  }

  /** Show it as it is now. @param {Message} message */
  show(message) {
    if (this.shown === message || JSON.stringify(this.shown) === JSON.stringify(message)) return;
    this.shown = message;
    this.message = message;
    this.element.id = `message-${message.id}`;
    this.#draw(message.content, message.thinking, message.status !== "generating");
    const isWriting = message.status === "generating";
    this.element.classList.toggle("writing", isWriting && this.isBot);
    this.status.replaceChildren(...(isWriting ? [] : this.#ending()));
    this.tools.replaceChildren(...(isWriting ? [] : this.#tools()));
  }

  /** Show more of it, as often as there is time for. @param {{text: string, thinking: string}} reply @param {() => void} shown */
  grow(reply, shown) {
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      const began = performance.now();
      this.#timer = 0;
      if (this.message.status !== "generating") return;
      this.#draw(reply.text, reply.thinking, false);
      shown();
      this.#cost = performance.now() - began;
    }, Math.min(1000, Math.max(50, this.#cost * 5)));
  }

  /** @param {string} text while there is nothing to read */
  wait(text) {
    this.status.textContent = text;
  }

  /** @param {string} text @param {string} thinking @param {boolean} isWhole */
  #draw(text, thinking, isWhole) {
    this.thinking.hidden = !thinking;
    if (this.thought.textContent !== thinking) this.thought.textContent = thinking;
    this.summary.textContent = text || isWhole ? "Reasoning" : "Thinking …";
    if (text || thinking) this.status.textContent = "";
    this.body ? this.body.update(text, isWhole) : this.text.replaceChildren(text);
  }

  #ending() {
    const { message, actions } = this;
    if (!this.isBot) return [];
    const words = message.finish_reason === "length" ? "It reached the longest length that an answer may have." : ENDINGS[message.status];
    const canGoOn = message.finish_reason === "length" || message.status !== "complete";
    return [words, canGoOn ? h("button", { type: "button", class: "link", onclick: () => actions.proceed(message) }, "Continue") : ""];
  }

  #tools() {
    const { message, actions, isBot } = this;
    const [siblings, rating] = [message.sibling_ids ?? [message.id], message.feedback?.rating];
    const at = siblings.indexOf(message.id);
    const step = (/** @type {number} */ to) => actions.step(/** @type {number} */ (siblings[to]));
    const rate = (/** @type {1 | -1} */ value, /** @type {string} */ label) => iconButton("up", label, () => actions.rate(message, rating === value ? null : value),
      { "aria-pressed": `${rating === value}`, class: value < 0 ? "icon turned" : "icon" });
    const more = menu(iconButton("more", "More", () => {}), () => [
      ...(isBot ? [{ label: "Answer again with another model", icon: "settings", run: () => actions.chooseModel(message) }] : []),
      { label: "New conversation from here", icon: "fork", run: () => actions.fork(message) },
      { label: "Delete from here on", icon: "bin", danger: true, run: () => actions.remove(message) },
    ]);
    return [
      ...(siblings.length > 1 ? [h("span", { class: "siblings" },
        iconButton("left", "Previous version", () => step(at - 1), { disabled: at <= 0 }), h("span", {}, `${at + 1} / ${siblings.length}`),
        iconButton("right", "Next version", () => step(at + 1), { disabled: at >= siblings.length - 1 }))] : []),
      copyButton("Copy", () => message.content),
      isBot ? iconButton("again", "Answer again", () => actions.regenerate(message)) : iconButton("edit", "Edit", () => this.edit()),
      ...(isBot && "feedback" in message ? [rate(1, "Good answer"), rate(-1, "Bad answer")] : []),
      more,
      h("span", { class: "facts" }, this.#facts()),
    ];
  }

  #facts() {
    const { usage, model, context, created_at } = this.message;
    const tokens = usage?.completion_tokens ? `${usage.prompt_tokens ?? "?"} tokens read, ${usage.completion_tokens} written` : "";
    const dropped = context?.turns_dropped ? `${context.turns_dropped} earlier turns no longer seen` : "";
    return [model?.replace(/:latest$/, ""), tokens, dropped, ago(created_at)].filter(Boolean).join(" · ");
  }

  /** Let the user write this message anew, in its place. */
  edit() {
    const input = h("textarea", { value: this.message.content, dir: "auto", "aria-label": "Your message", rows: Math.min(12, this.message.content.split("\n").length + 1) });
    const close = () => { form.replaceWith(this.text); this.tools.hidden = false; };
    const form = h("form", { class: "editing" }, input, h("div", { class: "buttons" },
      h("button", { type: "button", class: "quiet", onclick: () => { close(); /** @type {HTMLElement | null} */ (this.tools.querySelector("[aria-label=Edit]"))?.focus(); } }, "Cancel"), h("button", {}, "Send")));
    form.onsubmit = (event) => {
      event.preventDefault();
      if (!input.value.trim()) return;
      close();
      this.actions.edit(this.message, input.value.trim());
    };
    form.onkeydown = (event) => {
      if (event.key === "Escape") /** @type {HTMLElement} */ (form.querySelector(".quiet")).click();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    };
    this.text.replaceWith(form);
    this.tools.hidden = true;
    input.focus();
  }
}
