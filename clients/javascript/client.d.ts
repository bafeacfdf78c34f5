/**
 * Whatever goes wrong with a call or a reply, but for what the caller's own `signal` ends.
 *
 * Beside the server's own codes there are `unreachable`, and `unreadable` for an answer that is
 * none of the server's, such as a proxy's page.
 */
export class ChatError extends Error {
    /**
     * @param {{error: string, code: string, fields?: Record<string, string[]>,
     *   reply_kept?: boolean}} body
     * @param {number} [status] of the answer, 0 where it is an event of a stream
     * @param {number | null} [retryAfter] seconds
     */
    constructor(body: {
        error: string;
        code: string;
        fields?: Record<string, string[]>;
        reply_kept?: boolean;
    }, status?: number, retryAfter?: number | null);
    code: string;
    fields: Record<string, string[]>;
    replyKept: boolean;
    status: number;
    retryAfter: number | null;
}
/** The calls of one server, as one user. */
export class Client {
    /**
     * @param {{server?: string, token?: string, fetch?: typeof fetch}} [options] `server` is its
     *   origin, by default the page's own; without a `token` the session's cookie says who it is,
     *   which the client keeps by itself where it runs in no browser
     */
    constructor({ server, token, fetch }?: {
        server?: string;
        token?: string;
        fetch?: typeof globalThis.fetch;
    });
    server: string;
    token: string | undefined;
    fetch: typeof fetch;
    /**
     * Make any call; return its answer, refused ones as a `ChatError`.
     *
     * @param {string} method
     * @param {string} path
     * @param {{body?: object, query?: Record<string, string | number | boolean | undefined>,
     *   headers?: Record<string, string>, signal?: AbortSignal}} [options]
     * @returns {Promise<Response>}
     */
    request(method: string, path: string, { body, query, headers, signal }?: {
        body?: object;
        query?: Record<string, string | number | boolean | undefined>;
        headers?: Record<string, string>;
        signal?: AbortSignal;
    }): Promise<Response>;
    /**
     * Make any call; return the JSON that it is answered with.
     *
     * @param {string} method
     * @param {string} path
     * @param {Parameters<Client["request"]>[2]} [options]
     * @returns {Promise<any>}
     */
    call(method: string, path: string, options?: Parameters<Client["request"]>[2]): Promise<any>;
    /** @param {string} username @param {string} email @param {string} password */
    register(username: string, email: string, password: string): Promise<void>;
    /** @param {string} username or the e-mail address @param {string} password @returns {Promise<User>} */
    login(username: string, password: string): Promise<User>;
    logout(): Promise<void>;
    /** @returns {Promise<User | null>} who is logged in */
    user(): Promise<User | null>;
    /** @param {{limit?: number, cursor?: string, archived?: boolean}} [query] @returns {Promise<{threads: ListedThread[], next: string | null}>} */
    threads(query?: {
        limit?: number;
        cursor?: string;
        archived?: boolean;
    }): Promise<{
        threads: ListedThread[];
        next: string | null;
    }>;
    /** @param {ThreadSettings} [settings] @returns {Promise<Thread>} */
    newThread(settings?: ThreadSettings): Promise<Thread>;
    /** @param {number} thread @param {ThreadSettings} settings @returns {Promise<Thread>} */
    changeThread(thread: number, settings: ThreadSettings): Promise<Thread>;
    /** @param {number} thread */
    deleteThread(thread: number): Promise<void>;
    /** @param {number} thread @param {{limit?: number, cursor?: string, leaf?: number}} [query] @returns {Promise<{messages: Message[], next: string | null}>} */
    messages(thread: number, query?: {
        limit?: number;
        cursor?: string;
        leaf?: number;
    }): Promise<{
        messages: Message[];
        next: string | null;
    }>;
    /** @returns {Promise<{models: {name: string}[], default: string}>} */
    models(): Promise<{
        models: {
            name: string;
        }[];
        default: string;
    }>;
    /**
     * Send a message; the reply is read with `for await`.
     *
     * @param {number | "new"} thread "new" begins one, with the settings among the options
     * @param {string} message
     * @param {SendOptions & ThreadSettings} [options]
     */
    send(thread: number | "new", message: string, { signal, key, ...rest }?: SendOptions & ThreadSettings): Reply;
    /** Have a question answered once more. @param {number} thread @param {{message_id?: number, model?: string, options?: Options, signal?: AbortSignal}} [options] */
    regenerate(thread: number, { signal, ...body }?: {
        message_id?: number;
        model?: string;
        options?: Options;
        signal?: AbortSignal;
    }): Reply;
    /** Have a reply go on that was cut short. @param {number} thread @param {Message} reply @param {AbortSignal} [signal] */
    continue(thread: number, reply: Message, signal?: AbortSignal): Reply;
    /** Follow a reply that is being written, from where `reply` is, as messages() gave it. @param {number} thread @param {Message} reply @param {AbortSignal} [signal] */
    follow(thread: number, reply: Message, signal?: AbortSignal): Reply;
    /** Stop the reply that is being written; return whether there was one. @param {number} thread */
    stop(thread: number): Promise<boolean>;
    /**
     * What happens to the user's threads, in whatever tab and on whatever device, over lost connections.
     *
     * Load the list of threads at `start` and at `reload`. It goes on until `signal` ends it.
     *
     * @param {AbortSignal} [signal]
     * @returns {AsyncGenerator<ThreadEvent, void, void>}
     */
    events(signal?: AbortSignal): AsyncGenerator<ThreadEvent, void, void>;
    #private;
}
/**
 * A reply as it is written: an async iterable of its events, over lost connections.
 *
 * `text`, `thinking` and `status` are always what is true by now, a `rewind` included. A reply that
 * fails throws a `ChatError`. Whoever leaves the loop stops reading, not the reply.
 */
export class Reply {
    /**
     * @param {Client} client
     * @param {{path?: string, thread?: number, body?: object, headers?: Record<string, string>,
     *   signal?: AbortSignal}} how without a `path` it is followed
     * @param {Message} [before] what there is of it
     */
    constructor(client: Client, how: {
        path?: string;
        thread?: number;
        body?: object;
        headers?: Record<string, string>;
        signal?: AbortSignal;
    }, before?: Message);
    /** @type {number | null} */ id: number | null;
    /** @type {number | null} */ messageId: number | null;
    /** @type {Usage | null} */ usage: Usage | null;
    client: Client;
    how: {
        path?: string;
        thread?: number;
        body?: object;
        headers?: Record<string, string>;
        signal?: AbortSignal;
    };
    thread: number | null;
    /** @type {Status} */ status: Status;
    text: string;
    thinking: string;
    offset: number;
    /** Read to the end. @returns {Promise<string>} the text */
    whole(): Promise<string>;
    /** @returns {AsyncGenerator<ReplyEvent, void, void>} */
    [Symbol.asyncIterator](): AsyncGenerator<ReplyEvent, void, void>;
    #private;
}
export type User = {
    id: number;
    username: string;
    email: string;
    is_staff: boolean;
};
/**
 * - as the model takes them, such as `temperature`
 */
export type Options = Record<string, unknown>;
export type ThreadSettings = {
    title?: string | null;
    model?: string | null;
    system_prompt?: string | null;
    options?: Options | null;
};
export type Thread = {
    id: number;
    title: string;
    model: string;
    created_at: string;
    updated_at: string;
    pinned: boolean;
    archived: boolean;
    expires_at: string | null;
};
export type ListedThread = Thread & {
    preview: string;
    running_reply_id: number | null;
};
export type Status = "generating" | "complete" | "stopped" | "interrupted" | "failed";
export type Usage = {
    prompt_tokens: number | null;
    completion_tokens: number | null;
    duration_ms: number | null;
    first_token_ms: number | null;
};
export type Message = {
    id: number;
    parent_id: number | null;
    sender: "user" | "bot";
    content: string;
    thinking: string;
    status: Status;
    created_at: string;
    model: string | null;
    error_code: string | null;
    finish_reason: string | null;
    usage: Usage | null;
};
/**
 * - `key` makes the send safe to repeat after a reload
 */
export type SendOptions = {
    parent_id?: number | null;
    format?: "json" | object;
    signal?: AbortSignal;
    key?: string;
};
export type ReplyEvent = {
    type: "start";
    reply_id: number;
    message_id: number | null;
    thread_id: number;
    model: string;
} | {
    type: "queued";
    position: number;
} | {
    type: "thinking" | "delta";
    text: string;
    offset: number;
} | {
    type: "rewind";
    offset: number;
} | {
    type: "end";
    status: Status;
    finish_reason: string | null;
    usage: Usage | null;
} | {
    type: "error";
    error: string;
    code: string;
    fields?: Record<string, string[]>;
    reply_kept?: boolean;
};
export type ThreadEvent = ({
    type: "start" | "reload";
} | ({
    type: "thread";
} & ListedThread) | {
    type: "thread_deleted";
    id: number;
} | {
    type: "reply_started";
    thread_id: number;
    reply_id: number;
} | {
    type: "reply_ended";
    thread_id: number;
    reply_id: number;
    status: Status;
}) & {
    event_id: string | null;
};
