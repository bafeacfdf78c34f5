/** The server: its client, and what goes wrong with it, in words. */

import { ChatError, Client } from "../client/client.js";
import { notify } from "./dom.js";

const meta = /** @type {HTMLMetaElement | null} */ (document.querySelector("meta[name=server]"));

/** @type {{close: () => void} | null} */
let lost = null;

/** Fetch, and notice when the server is out of reach, and when the session has ended. @type {typeof fetch} */
const watched = async (...request) => {
  try {
    const answer = await fetch(...request);
    if (lost) document.dispatchEvent(new Event("reachable"));
    lost?.close();
    lost = null;
    if (answer.status === 401) document.dispatchEvent(new Event("sessionended"));
    return answer;
  } catch (error) {
    const isAborted = error instanceof DOMException && error.name === "AbortError";
    if (!isAborted) lost ??= notify("The server cannot be reached. Trying again …", { stays: true });
    throw error;
  }
};

export const client = new Client({ server: meta?.content, fetch: watched });

/** How long, in words. @param {number} seconds */
function duration(seconds) {
  if (seconds < 100) return `${seconds} s`;
  return seconds < 6000 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3600)} h`;
}

/** What went wrong, in words. @param {unknown} error */
export function words(error) {
  if (error instanceof ChatError) return error.message;
  if (error instanceof TypeError) return "The server cannot be reached. Check the connection and try again.";
  return `Something went wrong: ${error instanceof Error ? error.message : error}`;
}

/**
 * Say what went wrong; where the server says when to come back, count down to that.
 *
 * @param {unknown} error @param {(text: string) => void} show
 * @returns {Promise<void>} resolves when the time has come, at once where there is none
 */
export async function countDown(error, show) {
  const until = error instanceof ChatError && error.retryAfter ? Date.now() + error.retryAfter * 1000 : 0;
  for (let left; (left = Math.ceil((until - Date.now()) / 1000)) > 0; await new Promise((wake) => setTimeout(wake, 1000))) {
    const isLimit = error instanceof ChatError && error.code === "rate_limited"; // whose words have seconds, too
    show(`${isLimit ? "That was too much at once." : words(error)} You can go on in ${duration(left)}.`);
  }
  show(until ? "" : words(error));
}

/** Do something; what goes wrong is shown. @template T @param {() => Promise<T>} action @returns {Promise<T | undefined>} */
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    const isTold = error instanceof ChatError && (error.status === 401 || (error.code === "unreachable" && lost));
    if (!isTold) notify(words(error), { error: true });
    return undefined;
  }
}

export { ChatError };
