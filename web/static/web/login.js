/** What there is before one is logged in: log in, register, and choose a new password. */

import { h, notify } from "./dom.js";
import { form } from "./forms.js";
import { client } from "./server.js";

/** @typedef {import("../client/client.js").User} User */

const name = { name: "username", label: "Name or e-mail address", autocomplete: "username", required: true, autocapitalize: "none", spellcheck: false };
const email = { name: "email", label: "E-mail address", type: "email", autocomplete: "email", required: true };
/** @param {string} label @param {string} [field] */
const newPassword = (label, field = "password") =>
  ({ name: field, label, type: "password", autocomplete: "new-password", required: true, hint: "8 characters or more, and not a common one." });

/** Show the form that the address asks for. @param {HTMLElement} root @param {(user: User) => void} enter @param {string} [reason] why one is asked to log in */
export function showLogin(root, enter, reason) {
  /** @param {string} username @param {string} password */
  const login = async (username, password) => {
    const { user, warning } = await client.call("POST", "/auth/login/", { body: { username, password } });
    if (warning) notify(warning, { error: true });
    if (/^#\/(register|forgot|reset)/.test(location.hash)) history.replaceState(null, "", "#/");
    enter(user);
  };
  const [, page = "", uid = "", token = ""] = location.hash.split("/").map(decodeURIComponent);
  const forms = {
    login: () => card("Log in", form([name, { name: "password", label: "Password", type: "password", autocomplete: "current-password", required: true }],
      "Log in", ({ username = "", password = "" }) => login(username, password)), ["register", "Create an account"], ["forgot", "Forgotten your password?"]),
    register: () => card("Create an account", form([{ ...name, label: "Name" }, email, newPassword("Password")], "Create account",
      async ({ username = "", email = "", password = "" }) => {
        await client.register(username, email, password);
        await login(username, password);
      }), ["", "Log in instead"]),
    forgot: () => card("A new password", form([{ ...email, hint: "We send you an e-mail with which you choose a new password." }], "Send the e-mail",
      async (body) => {
        const { message } = await client.call("POST", "/auth/password/reset/", { body });
        history.replaceState(null, "", "#/reset");
        showLogin(root, enter, `${message} Open the link in it, or copy its two codes.`);
      }), ["", "Back"], ["reset", "I have the e-mail"]),
    reset: () => card("Choose a new password", form([
      { name: "uid", label: "First code (uid)", required: true, value: uid, readOnly: Boolean(uid), autocomplete: "off" },
      { name: "token", label: "Second code (token)", required: true, value: token, readOnly: Boolean(token), autocomplete: "off" },
      newPassword("New password", "new_password")], "Set the password",
      async (body) => {
        await client.call("POST", "/auth/password/reset/confirm/", { body });
        notify("Your password has been changed. Log in with it.");
        location.hash = "#/";
      }), ["", "Back"]),
  };

  /** @param {string} title @param {HTMLFormElement} content @param {...[string, string]} links */
  function card(title, content, ...links) {
    document.title = `${title} – Llama Chatbot`;
    root.className = "entrance";
    root.replaceChildren(h("main", { class: "card" },
      h("div", { class: "brand" }, h("img", { src: "static/web/llama.svg", alt: "", width: 40, height: 40 }), h("strong", {}, "Llama Chatbot")),
      h("h1", {}, title), reason && h("p", { class: "reason", role: "alert" }, reason), content,
      h("p", { class: "links" }, ...links.map(([to, text]) => h("a", { href: `#/${to}` }, text)))));
    /** @type {HTMLElement | null} */ (root.querySelector("input:not([readonly])"))?.focus();
  }
  (Object.hasOwn(forms, page) ? forms[/** @type {keyof typeof forms} */ (page)] : forms.login)();
}
