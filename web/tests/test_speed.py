"""How fast the page is. Limits of time are loose here: other tests run at the same time."""

import re

from django.utils import timezone
from playwright.sync_api import expect

from chat.models import Message, Sender, Thread
from testing.scripted_ollama import Script, ScriptedOllama
from web.tests.conftest import Chat

LOOSE = 10  # times what is meant, as tests share a machine


def long_thread(chat: Chat, messages: int) -> Thread:
    """Create a thread with so many messages."""
    thread = chat.thread(title="Long")
    last = None
    for number in range(messages // 2):
        now = timezone.now()
        made = {"thread": thread, "created_at": now}
        question = Message(**made, parent=last, sender=Sender.USER, content=f"Question {number}")
        question.save()
        last = Message(**made, parent=question, sender=Sender.BOT, content=f"**Answer** {number}")
        last.save()
    Thread.objects.filter(pk=thread.pk).update(current_message=last)
    return thread


def test_a_long_thread_opens_at_its_end_and_scrolls_to_its_beginning(visitor: Chat) -> None:
    visitor.log_in("ann")
    thread = long_thread(visitor, 300)
    visitor.open()
    page = visitor.page

    took = page.evaluate(
        """async (id) => {
          const began = performance.now();
          location.hash = `#/thread/${id}`;
          while (!document.querySelector("article.bot")) await new Promise(requestAnimationFrame);
          return performance.now() - began;
        }""",
        thread.pk,
    )
    expect(page.get_by_text("Answer 149")).to_be_in_viewport()
    assert took < 500 * LOOSE
    count = page.locator("article").count()
    assert count < 300
    scroller = page.locator(".scroller")
    place = page.get_by_text(re.compile("^Question 131$"))
    place.scroll_into_view_if_needed()
    before = place.evaluate("(element) => element.getBoundingClientRect().top")
    page.wait_for_function("() => document.querySelectorAll('article').length > 60")
    assert abs(place.evaluate("(element) => element.getBoundingClientRect().top") - before) < 5

    while page.locator("article").count() < 300:
        before_count = page.locator("article").count()
        scroller.evaluate("(element) => { element.scrollTop = 0; }")
        page.wait_for_function(
            f"() => document.querySelectorAll('article').length > {before_count}"
        )
    scroller.evaluate("(element) => { element.scrollTop = 0; }")
    expect(page.get_by_text("Question 0", exact=True)).to_be_in_viewport()


def test_a_long_answer_leaves_the_browser_time_for_other_things(
    chat: Chat, ollama: ScriptedOllama
) -> None:
    """What takes time is measured by the main thread's long tasks, however busy the machine is."""
    paragraph = "Some **bold** words, `code` and a [link](https://example.com/) in a sentence.\n\n"
    tokens = re.findall(r"\s*\S+", paragraph * 60)
    ollama.script = Script(tokens, interval=0.01)
    session = chat.context.new_cdp_session(chat.page)
    session.send("Performance.enable")

    def task_seconds() -> tuple[float, float]:
        metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
        return metrics["TaskDuration"], metrics["Timestamp"]

    busy, began = task_seconds()
    chat.send("Write")
    chat.wait_for_end()
    now_busy, ended = task_seconds()

    assert chat.answers.last.locator("p").count() == 60
    assert (now_busy - busy) / (ended - began) < 1 / 3
