/** What a thread is set to: its model, its system prompt, the model's options, and when it goes. */

import { dialog, h } from "./dom.js";
import { form } from "./forms.js";
import { attempt, client } from "./server.js";

const DAY = 86_400_000; // ms
const NUMBERS = /** @type {[string, string, number, number, number | "any"][]} */ ([
  ["temperature", "How freely it chooses words (temperature)", 0, 2, "any"], ["top_p", "Only the likeliest words up to (top_p)", 0, 1, "any"],
  ["top_k", "Only so many words to choose from (top_k)", 0, 1000, 1], ["min_p", "No word less likely than (min_p)", 0, 1, "any"],
  ["repeat_penalty", "Penalty for repeating itself", 0, 2, "any"], ["seed", "Seed, for the same answer again", 0, 2 ** 31 - 1, 1],
  ["num_predict", "Longest answer, in tokens", 1, 1e6, 1], ["num_ctx", "Most of the conversation to read, in tokens", 512, 1e6, 1],
]);

/** @param {string} [chosen] @returns {Promise<HTMLOptionElement[]>} */
async function modelOptions(chosen) {
  const { models, default: usual } = await client.models();
  return models.map(({ name }) => h("option", { value: name, selected: name === (chosen || usual) }, name === usual ? `${name} (usual)` : name));
}

/** Change a thread's settings, or choose those of a new one. @param {Record<string, any>} thread @param {boolean} isNew @returns {Promise<Record<string, any> | null>} what is to change */
export async function threadSettings(thread, isNew) {
  const options = await attempt(() => modelOptions(thread.model));
  if (!options) return null;
  /** @type {Record<string, any> | null} */
  let changes = null;
  const set = thread.options ?? {};
  const content = form([
    { name: "model", label: "Model", type: "select", options },
    { name: "system_prompt", label: "System prompt: how the model should answer", type: "textarea", rows: 4, dir: "auto", maxLength: 20_000, value: thread.system_prompt ?? "", placeholder: "The server’s own" },
    { name: "expires", label: "Keep this conversation", type: "select", options: [
      h("option", { value: "" }, thread.expires_at ? `until ${new Date(thread.expires_at).toLocaleString()}` : "for good"),
      ...(thread.expires_at ? [h("option", { value: "0" }, "for good")] : []),
      h("option", { value: "1" }, "temporary: for a day"), h("option", { value: "7" }, "temporary: for a week"), h("option", { value: "30" }, "temporary: for 30 days")] },
    ...NUMBERS.map(([name, label, min, max, step]) => ({ name, label, type: "number", min, max, step, value: set[name] ?? "", placeholder: "usual" })),
    { name: "stop", label: "Texts at which it stops, one a line", type: "textarea", rows: 2, value: (set.stop ?? []).join("\n") },
  ], isNew ? "Use these" : "Save", async (values) => {
    const numbers = NUMBERS.flatMap(([name]) => (values[name] ? [[name, Number(values[name])]] : []));
    const stop = (values.stop ?? "").split("\n").filter(Boolean);
    const given = { ...Object.fromEntries(numbers), ...(stop.length && { stop }) };
    changes = { model: values.model, system_prompt: values.system_prompt || null, options: Object.keys(given).length ? given : null };
    if (values.expires) changes.expires_at = values.expires === "0" ? null : new Date(Date.now() + Number(values.expires) * DAY).toISOString();
    if (!isNew) changes = await client.call("PATCH", `/chat/threads/${thread.id}/`, { body: changes });
    shown.element.close();
  });
  const ofModel = [...content.querySelectorAll(".field")].slice(3);
  content.querySelector(".problem")?.before(h("details", { class: "more" }, h("summary", {}, "Options of the model"), h("div", { class: "columns" }, ...ofModel)));
  const shown = dialog("Model and settings", [content]);
  await shown.closed;
  return changes;
}

/** Choose a model for one answer. @param {string} usual @returns {Promise<string>} empty where none was chosen */
export async function chooseModel(usual) {
  const options = await attempt(() => modelOptions(usual));
  if (!options) return "";
  let model = "";
  const shown = dialog("Answer again", [form([{ name: "model", label: "With the model", type: "select", options }], "Answer again", async (values) => {
    model = values.model ?? "";
    shown.element.close();
  })], "small");
  await shown.closed;
  return model;
}
