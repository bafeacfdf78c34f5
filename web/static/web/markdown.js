/** Markdown as elements: parsed by marked, cleaned by DOMPurify, block by block, so that a reply grows without flicker. */

import { Lexer, marked } from "./vendor/marked.esm.js";
import DOMPurify from "./vendor/purify.es.mjs";
import { copyButton, h } from "./dom.js";

const LONGEST = 50_000; // characters; what is longer is shown as it was written
const LONGEST_PARAGRAPH = 8_000; // that is searched for bold words, links …
const LONGEST_TIME = 300; // ms for that search, in one text
// Nobody writes lists within lists like this, and the parser would take minutes.
const TOO_DEEP = /^(?:[ \t]*(?:[-*+>]|\d{1,9}[.)])){12}|^[ \t]{80,}(?:[-*+>]|\d{1,9}[.)])[ \t]/m;
const REFERENCE = /^ {0,3}\[[^\]]+\]:/m;
const HARMLESS = /^<\/?(?:br|sub|sup|kbd)\s*\/?>$/i;
const CLEAN = {
  ALLOWED_TAGS: ["p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong",
    "del", "a", "table", "thead", "tbody", "tr", "th", "td", "sub", "sup", "kbd"],
  ALLOWED_ATTR: ["href", "align", "start"],
  ADD_URI_SAFE_ATTR: ["align", "start"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  RETURN_DOM_FRAGMENT: /** @type {true} */ (true),
};

/** @param {string} text */
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");

marked.use({
  gfm: true,
  renderer: {
    /** @param {{text: string}} token */ html: ({ text }) => (HARMLESS.test(text.trim()) ? text : escaped(text)),
    /** A link to it: nothing is loaded from elsewhere. @param {{href: string, text: string}} token */
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || "image")}</a>`,
    /** @param {{checked: boolean}} token */ checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

/** @param {any} token */
const languageOf = (token) => (token.lang ?? "").split(/\s/)[0];

/** @param {string} text @param {string} language */
function codeBlock(text, language) {
  const code = h("code", {}, text);
  const copy = copyButton("Copy code", () => code.textContent ?? "");
  return h("div", { class: "code", dir: "ltr" }, h("div", { class: "code-head" }, h("span", {}, language), copy), h("pre", { tabIndex: 0 }, code));
}

/** @param {any} token @returns {HTMLElement} */
function block(token) {
  if (token.type === "code") return codeBlock(token.text, languageOf(token));
  const fragment = DOMPurify.sanitize(marked.parser([token]), CLEAN);
  const element = h("div", { class: "block" });
  element.append(fragment);
  for (const each of element.querySelectorAll("p, li, h1, h2, h3, h4, h5, h6, th, td, blockquote")) each.setAttribute("dir", "auto");
  for (const link of element.querySelectorAll("a")) Object.assign(link, { target: "_blank", rel: "noopener noreferrer nofollow" });
  for (const table of element.querySelectorAll("table")) {
    const frame = h("div", { class: "table", tabIndex: 0, role: "group", "aria-label": "Table" });
    table.replaceWith(frame);
    frame.append(table);
  }
  return element;
}

/** The blocks of a text; what takes the parser too long stays as it was written. @param {string} text @returns {any[] | null} */
function parse(text) {
  if (text.length > LONGEST || TOO_DEEP.test(text)) return null;
  const [lexer, deadline] = [new Lexer(), performance.now() + LONGEST_TIME];
  try {
    lexer.blockTokens(text, lexer.tokens);
    for (const { src, tokens } of lexer.inlineQueue) {
      if (src.length < LONGEST_PARAGRAPH && performance.now() < deadline) lexer.inlineTokens(src, tokens);
      else tokens.push({ type: "text", raw: src, text: src, escaped: false });
    }
  } catch {
    return null;
  }
  return lexer.tokens;
}

/** A text that may grow, as elements: only the blocks that have changed are made anew. */
export class Markdown {
  element = h("div", { class: "markdown" });
  text = "";
  /** @type {{raw: string, node: HTMLElement}[]} */ #blocks = [];
  #sure = 0; // blocks before the last one, which may still change
  #sureLength = 0; // of their text

  /** @param {string} [text] */
  constructor(text = "") {
    this.update(text);
  }

  /** @param {string} given @param {boolean} [isWhole] nothing follows it */
  update(given, isWhole = true) {
    const text = given.replace(/\r\n?/g, "\n");
    if (isWhole && REFERENCE.test(text)) this.#blocks = []; // whose targets may have come last
    if (!text.startsWith(this.text.slice(0, this.#sureLength)) || !this.#blocks.length) this.#sure = this.#sureLength = 0;
    this.text = text;
    const tokens = text.length > LONGEST ? null : parse(text.slice(this.#sureLength));
    if (!tokens) return this.#asWritten();
    if (!this.#blocks.length) this.element.replaceChildren();
    let [index, end, last] = [this.#sure, this.#sureLength, this.#sureLength];
    for (const token of tokens) {
      if (token.type !== "space" && token.type !== "def") {
        last = end;
        this.#put(index++, token);
      }
      end += token.raw.length;
    }
    for (const { node } of this.#blocks.splice(index)) node.remove();
    this.#sure = Math.max(this.#sure, index - 1);
    this.#sureLength = this.#sure < index ? last : this.#sureLength;
  }

  /** @param {number} index @param {any} token */
  #put(index, token) {
    const old = this.#blocks[index];
    if (old?.raw === token.raw) return;
    const isSame = token.type === "code" && old?.node.querySelector(".code-head span")?.textContent === languageOf(token);
    const code = isSame && old?.node.querySelector("code")?.firstChild;
    if (code instanceof Text && token.text.startsWith(code.data)) {
      code.appendData(token.text.slice(code.length)); // which keeps a selection in it
      if (old) old.raw = token.raw;
      return;
    }
    const node = block(token);
    old ? old.node.replaceWith(node) : this.element.append(node);
    this.#blocks[index] = { raw: token.raw, node };
  }

  #asWritten() {
    this.#sure = this.#sureLength = 0;
    this.#blocks = [{ raw: "", node: h("div", { class: "as-written", dir: "auto" }, this.text) }];
    this.element.replaceChildren(...this.#blocks.map(({ node }) => node));
  }
}
