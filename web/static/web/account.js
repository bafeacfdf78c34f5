/** One's account: address, password, sessions, tokens, what one has used, and its end. */

import { ago, confirmed, copyButton, dialog, h, notify } from "./dom.js";
import { form } from "./forms.js";
import { attempt, client } from "./server.js";

/** @typedef {import("../client/client.js").User} User */

// Shown once the server asks for it: when the login is older than ten minutes.
const password = { name: "password", label: "Your password, once more", type: "password", autocomplete: "current-password", onlyIfAsked: true };

/** The values of a form without what was left empty. @param {Record<string, string>} values */
const given = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value));

/** The name of a browser and its system. @param {string | null} agent */
export function browserName(agent) {
  const first = (/** @type {[string, RegExp][]} */ names) => names.find(([, mark]) => mark.test(agent ?? ""))?.[0];
  const browser = first([["Edge", /Edg\//], ["Opera", /OPR\//], ["Firefox", /Firefox\//], ["Chrome", /Chrom(e|ium)\//], ["Safari", /Safari\//], ["curl", /^curl/]]);
  const system = first([["Android", /Android/], ["iPhone or iPad", /iPhone|iPad/], ["Windows", /Windows/], ["macOS", /Mac OS/], ["Linux", /Linux|X11/]]);
  return [browser ?? "A program", system].filter(Boolean).join(" on ");
}

/** @param {User} user @param {(reason?: string) => void} leave */
export function openAccount(user, leave) {
  const sessions = h("ul", { class: "rows" });
  const tokens = h("ul", { class: "rows" });
  const usage = h("div");

  const loadSessions = () => attempt(async () => {
    const { sessions: found } = await client.call("GET", "/auth/sessions/");
    const end = (/** @type {string} */ path) => attempt(async () => { await client.call("DELETE", path); await loadSessions(); });
    sessions.replaceChildren(...found.map((/** @type {any} */ each) => h("li", {},
      h("span", {}, h("strong", {}, browserName(each.user_agent)), each.current ? " · this one" : ` · seen ${ago(each.last_seen_at)}`, h("small", {}, each.ip_address ?? "")),
      !each.current && h("button", { type: "button", class: "quiet", onclick: () => end(`/auth/sessions/${each.id}/`) }, "Log out"))));
    if (found.length > 1) sessions.append(h("li", {}, h("button", { type: "button", class: "quiet", onclick: () => end("/auth/sessions/") }, "Log out everywhere else")));
  });

  const loadTokens = () => attempt(async () => {
    const { tokens: found } = await client.call("GET", "/auth/tokens/");
    const revoke = async (/** @type {any} */ token) => {
      if (!(await confirmed(`Revoke “${token.name}”? What uses it stops working.`, "Revoke"))) return;
      await attempt(async () => { await client.call("DELETE", `/auth/tokens/${token.id}/`); await loadTokens(); });
    };
    tokens.replaceChildren(...found.map((/** @type {any} */ token) => h("li", {},
      h("span", {}, h("strong", {}, token.name), ` · ${token.prefix}…`, h("small", {}, `${token.last_used_at ? `used ${ago(token.last_used_at)}` : "never used"}, expires ${ago(token.expires_at)}`)),
      h("button", { type: "button", class: "quiet", onclick: () => revoke(token) }, "Revoke"))));
  });

  const loadUsage = () => attempt(async () => {
    const { days, total } = await client.call("GET", "/auth/usage/", { query: { days: 30 } });
    const row = (/** @type {string} */ tag, /** @type {any[]} */ cells) => h("tr", {}, ...cells.map((cell, at) => h(/** @type {"td"} */ (tag), { align: at > 1 && "right" }, typeof cell === "number" ? cell.toLocaleString() : cell)));
    const numbers = (/** @type {any} */ of) => [of.replies, of.prompt_tokens, of.completion_tokens];
    usage.replaceChildren(h("div", { class: "table", tabIndex: 0, role: "group", "aria-label": "What you have used" }, h("table", {},
      h("thead", {}, row("th", ["Day", "Model", "Answers", "Tokens read", "written"])),
      h("tbody", {}, ...days.map((/** @type {any} */ day) => row("td", [day.date, day.model, ...numbers(day)])), row("td", ["30 days", "", ...numbers(total)])))));
  });

  const issue = form([{ name: "name", label: "What it is for", required: true, maxLength: 100 }, { name: "days", label: "Days until it expires", type: "number", min: 1, max: 366, value: "90", required: true }, password],
    "Create a token", async (values, element) => {
      const { token } = await client.call("POST", "/auth/tokens/", { body: { ...given(values), days: Number(values.days) } });
      const secret = h("code", { tabIndex: 0 }, token);
      const copy = copyButton("Copy the token", () => token);
      element.querySelector(".secret")?.remove();
      element.append(h("p", { class: "secret", role: "status" }, "Copy it now, it is not shown again: ", secret, copy));
      element.reset();
      await loadTokens();
    });

  const sections = /** @type {[string, Node[], (() => unknown)?][]} */ ([
    ["Where you are logged in", [sessions], loadSessions],
    ["Tokens for scripts", [tokens, issue], loadTokens],
    ["What you have used", [usage], loadUsage],
    ["Change the password", [form([
      { name: "old_password", label: "Your password now", type: "password", autocomplete: "current-password", required: true },
      { name: "new_password", label: "New password", type: "password", autocomplete: "new-password", required: true, hint: "8 characters or more. Everywhere else you are logged out." }],
      "Change the password", async (body, element) => {
        notify((await client.call("POST", "/auth/password/change/", { body })).message);
        element.reset();
      })]],
    ["Change the e-mail address", [form([{ name: "email", label: "New address", type: "email", autocomplete: "email", required: true, hint: `Now it is ${user.email}.` }, password],
      "Change the address", async (values, element) => {
        notify((await client.call("POST", "/auth/email/change/", { body: given(values) })).message);
        user.email = values.email ?? "";
        element.reset();
      })]],
    ["Delete the account", [h("p", {}, "Your account, all conversations and all tokens are deleted for good."), form([password], "Delete the account", async (values) => {
      if (!(await confirmed("Delete your account and all that is in it?", "Delete everything"))) return;
      await client.call("DELETE", "/auth/delete/", { body: given(values) });
      leave("Your account has been deleted.");
    }, "danger")]],
  ]);
  dialog(`${user.username}’s account`, sections.map(([title, content, load]) => {
    const section = h("details", { name: "account" }, h("summary", {}, title), ...content);
    section.ontoggle = () => { if (section.open) load?.(); };
    return section;
  }));
}
