/** What happens to the threads in other tabs and on other devices, told to every tab by one of them. */

import { client } from "./server.js";

const REFUSED_WAIT = 5_000; // milliseconds

/** @typedef {{type: string, id?: number, thread_id?: number, reply_id?: number, [field: string]: any}} ThreadEvent */

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
  while (!signal.aborted) {
    try {
      for await (const event of client.events(signal)) tell(event);
    } catch { // refused, as over a limit or with an ended session
      await new Promise((wake) => setTimeout(wake, REFUSED_WAIT));
    }
  }
}
