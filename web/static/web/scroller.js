/** The part of the page that scrolls: it follows its end only while one is there. */

import { h, iconButton } from "./dom.js";

const AT_END = 60; // pixels
const NEAR_BEGINNING = 800;

export class Scroller {
  #follows = true;

  /** @param {() => void} onbeginning called when one comes near the beginning */
  constructor(onbeginning) {
    this.content = h("div", { class: "messages" });
    this.element = h("div", { class: "scroller", tabIndex: 0, role: "region", "aria-label": "Messages" }, this.content);
    this.jump = iconButton("down", "To the newest message", () => { this.follows = true; }, { class: "icon jump", hidden: true });
    this.element.onscroll = () => {
      const { scrollTop, scrollHeight, clientHeight } = this.element;
      this.#follows = scrollHeight - scrollTop - clientHeight < AT_END;
      this.jump.hidden = this.#follows;
      if (scrollTop < NEAR_BEGINNING) onbeginning();
    };
    new ResizeObserver(() => this.stick()).observe(this.content);
  }

  /** Whether it follows its end. @param {boolean} follows */
  set follows(follows) {
    this.#follows = follows;
    this.stick();
  }

  stick() {
    if (this.#follows) this.element.scrollTop = this.element.scrollHeight;
  }

  /** Show these elements, as far as they are not shown yet. @param {HTMLElement[]} elements */
  show(elements) {
    const { content, element } = this;
    if (elements.length === content.children.length && elements.every((each, at) => each === content.children[at])) return;
    const more = elements.length - content.children.length;
    const isMoreBefore = more > 0 && elements[more] === content.firstElementChild && elements.at(-1) === content.lastElementChild;
    const fromEnd = element.scrollHeight - element.scrollTop;
    if (isMoreBefore) content.prepend(...elements.slice(0, more)); // and leave the others, which may be thousands
    else content.replaceChildren(...elements);
    if (isMoreBefore) element.scrollTop = element.scrollHeight - fromEnd;
    this.stick();
  }
}
