/** What happens to the threads in other tabs and on other devices, told to every tab by one of them. */

import { client } from "./server.js";

/** @typedef {{type: string, event_id?: string, id?: number, thread_id?: number, reply_id?: number, [field: string]: any}} ThreadEvent */

/**
 * Call `take` with every event until the signal.
 *
 * A browser opens only six connections to a server, so of all tabs only one holds the stream. When
 * it closes, the next one gets its lock.
 *
 * @param {{id: number}} user @param {AbortSignal} signal @param {(event: ThreadEvent) => void} take
 */
export function listen(user, signal, take) {
  const name = `events-${user.id}`;
  const tabs = new BroadcastChannel(name);
  tabs.onmessage = ({ data }) => take(data);
  signal.addEventListener("abort", () => tabs.close());
  /** @param {ThreadEvent} event */
  const tell = (event) => { if (!signal.aborted) { tabs.postMessage(event); take(event); } };
  const follow = () => followEvents(signal, tell);
  if (navigator.locks) navigator.locks.request(name, { signal }, follow).catch(() => {});
  else follow();
}

/** @param {AbortSignal} signal @param {(event: ThreadEvent) => void} tell */
async function followEvents(signal, tell) {
  let [last, wait] = ["", 500];
  while (!signal.aborted) {
    try {
      const headers = { Accept: "application/x-ndjson", ...(last && { "Last-Event-ID": last }) };
      const answer = await client.request("GET", "/chat/events/", { headers, signal });
      let rest = "";
      for await (const text of /** @type {any} */ (answer.body?.pipeThrough(new TextDecoderStream()))) {
        wait = 500;
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        for (const event of lines.filter(Boolean).map((line) => JSON.parse(line))) {
          last = event.event_id ?? last;
          tell(event);
        }
      }
    } catch {
      wait = Math.min(wait * 2, 15_000);
    }
    await new Promise((wake) => setTimeout(wake, wait));
  }
}
