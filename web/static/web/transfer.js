/** Bringing conversations along from elsewhere. */

import { dialog, h } from "./dom.js";
import { ChatError, client, words } from "./server.js";

const TYPES = /** @type {Record<string, string>} */ ({ json: "application/json", ndjson: "application/x-ndjson", jsonl: "application/x-ndjson", zip: "application/zip" });

/** Ask for a file and import it. @param {() => Promise<void>} done */
export function openImport(done) {
  const input = h("input", { type: "file", accept: ".json,.jsonl,.ndjson,.zip", "aria-label": "File" });
  const progress = h("progress", { hidden: true, max: 1, "aria-label": "Imported so far" });
  const report = h("p", { role: "status" });
  const list = h("ul", { class: "report" });
  dialog("Import conversations", [
    h("p", {}, "From an export of this chat, of ChatGPT (conversations.json or the whole ZIP), Open WebUI or LibreChat. What is here already is not imported twice."),
    input, progress, report, list]);
  input.onchange = async () => {
    const file = input.files?.[0];
    if (!file) return;
    [input.disabled, progress.hidden, report.textContent] = [true, false, "Importing …"];
    list.replaceChildren();
    try {
      const headers = { "Content-Type": TYPES[file.name.split(".").pop()?.toLowerCase() ?? ""] ?? "application/octet-stream" };
      const answer = await client.fetch(`${client.server}/chat/import/`, { method: "POST", credentials: "include", headers, body: file });
      if (!answer.ok) throw new ChatError(await answer.json(), answer.status);
      const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
      let rest = "";
      for (let part; !(part = await reader.read()).done; ) {
        const lines = (rest + part.value).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines.filter(Boolean).map((text) => JSON.parse(text))) {
          if (line.type === "progress" && line.of) progress.value = line.bytes / line.of;
          if (line.type === "skipped") list.append(h("li", {}, `${line.title || "A conversation"}: ${line.reason}`));
          if (line.type === "error") throw new ChatError(line);
          if (line.type === "end") report.textContent = `${line.threads} imported, with ${line.messages} messages; ${line.already_there} were here already; ${line.skipped} left out.`;
        }
      }
    } catch (error) {
      report.textContent = words(error);
    }
    [input.disabled, progress.hidden, input.value] = [false, true, ""];
    await done().catch(() => {});
  };
}
