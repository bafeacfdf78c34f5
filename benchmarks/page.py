"""The page at `/` in a browser: its first view, a long thread, and a long answer as it is written.

The browser is Chromium without a window, which draws with the CPU. The thread is opened from
another one, in turn; then it is scrolled to its beginning, and the longest time is noted for which
the browser could do nothing else. The answer has headings, lists, tables and code.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from benchmarks.result import Result, median, note, run_alone
from benchmarks.world import MODEL, Person, create_people, one_transaction, world
from chat.models import Message, Sender, Thread
from testing.fixtures.browsers import PROGRAM
from testing.processes import free_port
from testing.scripted_ollama import ModelInfo, Script, ScriptedOllama
from testing.scripted_ollama.script import tokens_of

WHAT = "the page in a browser"
BYTES, SECONDS, SHARE = 100_000, 0.5, 1 / 3
GOAL = (
    f"first view under {BYTES // 1000} KB and {SECONDS} s, a long thread under {SECONDS} s,"
    " an answer under a third of a core"
)

ROUNDS, MESSAGES, CHARACTERS = 7, 2_000, 20_000
QUICK = (1, 200, 1_000)
RATE = 100  # tokens a second
THREADS = 50

TURN = """\
## How it is done

Some **bold** words, `code` and a [link](https://example.com/) in a sentence that is neither long
nor short, as people write them.

- first one thing
- then another one, which takes *longer*

| what | how many |
|---|--:|
| apples | 12 |
| pears | 7 |

```python
for number in range(10):
    print(number)
```

"""

# When one can write, in ms since the navigation began.
NOTE_READY = """
const look = () => document.activeElement?.id === "message"
  ? window.ready = performance.now() : requestAnimationFrame(look);
look();
"""
# How long it takes until the end of a thread is seen, in ms.
OPEN = """async ([id, last]) => {
  const began = performance.now();
  location.hash = `#/thread/${id}`;
  const isSeen = () => {
    const place = document.getElementById(`message-${last}`)?.getBoundingClientRect();
    return place && place.height > 0 && place.top < innerHeight && place.bottom > 0;
  };
  while (!isSeen()) {
    if (performance.now() - began > 60_000) throw new Error("the thread does not open");
    await new Promise(requestAnimationFrame);
  }
  await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""
# Scroll up to the first message, a screen a frame; return the longest task in ms.
SCROLL = """async (count) => {
  const began = performance.now();
  let longest = 0;
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
  });
  observer.observe({ type: "longtask" });
  const scroller = document.querySelector(".scroller");
  while (document.querySelectorAll("article").length < count || scroller.scrollTop > 0) {
    if (performance.now() - began > 120_000) throw new Error("the beginning is not reached");
    scroller.scrollTop -= innerHeight;
    await new Promise(requestAnimationFrame);
  }
  await new Promise((wake) => setTimeout(wake, 300));
  return longest;
}"""


def measure(quick: bool = False) -> Result:
    """Measure the three, one after the other."""
    if PROGRAM is None:
        raise RuntimeError("no chromium is installed")
    rounds, messages, characters = QUICK if quick else (ROUNDS, MESSAGES, CHARACTERS)
    answer = (TURN * math.ceil(characters / len(TURN)))[:characters]
    script = Script(tokens_of(answer), interval=1 / RATE)
    with ScriptedOllama(free_port(), benchmark=True) as ollama:
        ollama.models[MODEL] = ModelInfo(context_length=131_072)
        ollama.script = script
        with world(
            settings=[{"OLLAMA_HOST": ollama.url, "CHAT_REPLY_TOKENS_MAX": "100000"}]
        ) as here:
            (person,) = create_people(1, threads=THREADS)
            last = fill(person, messages)
            url = here.server.url
            with browser() as started:
                size, ready = first_view(started, url, person, rounds)
                with logged_in(started, url, person) as context:
                    page = context.new_page()
                    page.goto(url)
                    page.get_by_label("Message", exact=True).wait_for()
                    opened, longest = long_thread(page, person, last, messages, rounds)
                    share, drawing = long_answer(started, page, answer)
    return Result(
        f"first view {size / 1000:.0f} KB in {ready:.2f} s; {messages:,} messages open in"
        f" {opened:.2f} s, scrolled through without a stop over {longest:.2f} s;"
        f" {characters:,} characters at {RATE} tokens a second {share:.2f} of a core"
        f" (and {drawing:.2f} to draw)",
        size < BYTES and ready < SECONDS and opened < SECONDS and share < SHARE,
    )


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser."""
    flags = ["--no-sandbox", "--disable-dev-shm-usage"]
    with (
        mock.patch.dict(os.environ, DJANGO_ALLOW_ASYNC_UNSAFE="true"),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=flags)
        yield browser
        browser.close()


@contextmanager
def logged_in(browser: Browser, url: str, person: Person) -> Iterator[BrowserContext]:
    """Open a session of a browser with a cold cache, in which somebody is logged in."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    name, _, value = person.headers["Cookie"].partition("=")
    context.add_cookies([{"name": name, "value": value, "url": url}])
    yield context
    context.close()


def fill(person: Person, messages: int) -> int:
    """Store messages in somebody's first thread; return the last one's id."""
    thread = Thread.objects.get(pk=person.threads[0])
    last = None
    with one_transaction():
        for number in range(messages // 2):
            made = {"thread": thread, "created_at": timezone.now()}
            question = Message(parent=last, sender=Sender.USER, content=f"Turn {number}?", **made)
            question.save()
            last = Message(parent=question, sender=Sender.BOT, content=TURN, model=MODEL, **made)
            last.save()
        Thread.objects.filter(pk=thread.pk).update(current_message=last)
    return last.pk if last else 0


def first_view(browser: Browser, url: str, person: Person, rounds: int) -> tuple[int, float]:
    """Return how many bytes came over the wire, and after how many seconds one could write."""
    sizes, times = [], []
    for _ in range(rounds):
        with logged_in(browser, url, person) as context:
            page = context.new_page()
            page.add_init_script(NOTE_READY)
            loaded = bytes_loaded(context, page)
            page.goto(url)
            page.wait_for_function("() => window.ready")
            page.get_by_role("navigation").get_by_role("listitem").first.wait_for()
            sizes.append(sum(loaded))
            times.append(page.evaluate("window.ready") / 1000)
    note(f"first views: {[round(time, 3) for time in times]} s")
    return max(map(int, sizes)), median(times)


def bytes_loaded(context: BrowserContext, page: Page) -> list[int]:
    """Return a list that grows by the size of each answer to a page, as it came over the wire."""
    network = context.new_cdp_session(page)
    loaded: list[int] = []

    def note_size(event: dict[str, Any]) -> None:
        loaded.append(event["encodedDataLength"])

    network.on("Network.loadingFinished", note_size)
    network.send("Network.enable")
    return loaded


def long_thread(
    page: Page, person: Person, last: int, messages: int, rounds: int
) -> tuple[float, float]:
    """Return how long the thread took to open, and the longest stop on the way up, in seconds."""
    times = []
    for _ in range(rounds + 1):  # the first one warms up
        times.append(page.evaluate(OPEN, [person.threads[0], last]) / 1000)
        if len(times) <= rounds:
            page.evaluate("location.hash = '#/'")
            page.locator(".welcome").wait_for()
    note(f"openings: {[round(time, 3) for time in times]} s")
    longest = page.evaluate(SCROLL, messages // 2 * 2) / 1000
    return median(times[1:]), longest


def long_answer(browser: Browser, page: Page, answer: str) -> tuple[float, float]:
    """Return the shares of a core that the page and the drawing take while an answer is written."""
    page.evaluate("location.hash = '#/'")
    page.locator(".welcome").wait_for()
    page.get_by_label("Message", exact=True).fill("Write")
    devtools = browser.new_browser_cdp_session()

    def used() -> tuple[float, float]:
        seconds = {"renderer": 0.0, "GPU": 0.0}
        for process in devtools.send("SystemInfo.getProcessInfo")["processInfo"]:
            if process["type"] in seconds:
                seconds[process["type"]] += process["cpuTime"]
        return seconds["renderer"], seconds["GPU"]

    before, began = used(), page.evaluate("performance.now()")
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_role("button", name="Answer again", exact=True).wait_for(timeout=300_000)
    after, ended = used(), page.evaluate("performance.now()")
    shown = page.locator("article.bot .code").count()
    if shown != answer.count("```python"):
        raise RuntimeError(f"the answer is shown with {shown} pieces of code")
    took = (ended - began) / 1000
    note(f"the answer took {took:.0f} s")
    return (after[0] - before[0]) / took, (after[1] - before[1]) / took


if __name__ == "__main__":
    run_alone(WHAT, GOAL, measure)
