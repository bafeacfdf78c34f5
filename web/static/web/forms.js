/** Forms: labelled fields, what is wrong with each of them, and one sending at a time. */

import { h } from "./dom.js";
import { ChatError, countDown } from "./server.js";

/** @typedef {{name: string, label: string, type?: string, hint?: string, [property: string]: any}} Field */

let number = 0; // of fields, whose ids are unique

/** @param {Field} field */
export function labelled({ name, label, hint, type, onlyIfAsked, ...properties }) {
  const about = h("p", { class: "hint", id: `about-${++number}` }, hint ?? "");
  const tag = type === "textarea" || type === "select" ? type : "input";
  const kind = tag === "input" ? { type: type ?? "text" } : {};
  const { options = [], ...rest } = properties;
  const input = h(tag, { name, id: `field-${number}`, "aria-describedby": about.id, ...kind, ...rest }, ...options);
  if ("defaultValue" in input) input.defaultValue = properties.value ?? ""; // which a reset brings back
  else if (properties.value !== undefined) input.value = properties.value;
  return h("div", { class: "field", hidden: onlyIfAsked }, h("label", { htmlFor: input.id }, label), input, about);
}

/** @param {Element | null} input */
const about = (input) => /** @type {HTMLElement | null} */ (input?.closest(".field")?.querySelector(".hint"));

/**
 * A form. What `send` is refused with stands at its field, or above the button.
 *
 * @param {Field[]} fields @param {string} label of its button
 * @param {(values: Record<string, string>, form: HTMLFormElement) => Promise<unknown>} send
 * @param {string} [kind] the button's class
 */
export function form(fields, label, send, kind = "") {
  const button = h("button", { class: kind }, label);
  const problem = h("p", { class: "problem", role: "alert" });
  const element = h("form", {}, ...fields.map(labelled), problem, h("div", { class: "buttons" }, button));
  element.onsubmit = async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    problem.textContent = "";
    for (const invalid of element.querySelectorAll("[aria-invalid]")) {
      invalid.removeAttribute("aria-invalid");
      const { hint } = fields.find(({ name }) => name === invalid.getAttribute("name")) ?? {};
      about(invalid)?.replaceChildren(hint ?? "");
    }
    button.disabled = true;
    try {
      await send(/** @type {Record<string, string>} */ (Object.fromEntries(new FormData(element))), element);
    } catch (error) {
      const wrong = error instanceof ChatError ? Object.entries(error.fields) : [];
      let known = 0;
      for (const [name, problems] of wrong) {
        const input = element.querySelector(`[name="${CSS.escape(name)}"]`);
        input?.setAttribute("aria-invalid", "true");
        about(input)?.replaceChildren(problems.join(" "));
        input?.closest(".field")?.removeAttribute("hidden");
        known += input ? 1 : 0;
      }
      /** @type {HTMLElement | null} */ (element.querySelector("[aria-invalid]"))?.focus();
      if (!known) await countDown(error, (text) => { problem.textContent = text; });
    }
    button.disabled = false;
  };
  return element;
}
