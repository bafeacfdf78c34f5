"""One conversation: written, read, and gone through again."""

import re

from playwright.sync_api import expect

from chat.models import Message, Sender, Thread
from testing.scripted_ollama import Script, ScriptedOllama
from web.tests.conftest import Chat

MARKDOWN = """\
# Head

Some **bold** words, `code`, a [link](https://example.com/) and ~~nothing~~.

- [x] one
- two
  1. three

| a | b |
|---|--:|
| 1 | 2 |

```python
print("<b>")
```

> quoted
"""
RIGHT_TO_LEFT = "مرحبا بالعالم"


def test_an_answer_is_shown_as_markdown_with_code_to_copy(
    chat: Chat, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(re.findall(r"\s*\S+|\s+", MARKDOWN))
    chat.send("Show me")
    chat.wait_for_end()
    answer = chat.answers.last

    expect(answer.locator("h1")).to_have_text("Head")
    expect(answer.locator("strong")).to_have_text("bold")
    expect(answer.locator("li")).to_have_text(["☑ one", re.compile("two"), "three"])
    expect(answer.locator("td").last).to_have_attribute("align", "right")
    expect(answer.locator("blockquote")).to_have_text("quoted")
    expect(answer.get_by_role("link")).to_have_attribute("rel", re.compile("noopener"))
    answer.get_by_role("button", name="Copy code").click()
    copied = "navigator.clipboard.readText()"
    assert chat.page.evaluate(copied) == 'print("<b>")'
    chat.button("Copy").click()
    chat.page.wait_for_function(f"() => {copied}.then((text) => text.startsWith('# Head'))")
    expect(chat.page.locator(".facts").last).to_contain_text("tokens read")


def test_reasoning_is_folded_away(visitor: Chat, ollama: ScriptedOllama) -> None:
    visitor.log_in("ann")
    visitor.open(visitor.thread(model="thinker:latest"))
    ollama.script = Script(["Four."], thinking=["Two and ", "two."])
    visitor.say("2 + 2", "Four.")
    thought = visitor.page.get_by_text("Two and two.")

    expect(thought).to_be_hidden()
    visitor.page.locator("summary:visible").click()
    expect(thought).to_be_visible()


def test_an_answer_is_stopped_and_continued(chat: Chat, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one ", "two ", "three"], hold_after=1)
    chat.send("Count")
    expect(chat.answers.last).to_have_text("one")
    chat.box.press("Escape")
    expect(chat.page.get_by_text("Stopped.")).to_be_visible()
    ollama.script = Script(["one ", "two ", "three"])

    chat.button("Continue").click()

    expect(chat.answers.last).to_have_text("one two three")
    chat.wait_for_end()
    expect(chat.page.get_by_text("Stopped.")).to_have_count(0)


def test_a_question_is_edited_an_answer_given_again_and_one_steps_through_both(
    chat: Chat, ollama: ScriptedOllama
) -> None:
    chat.say("First")
    chat.say("Second")
    chat.page.locator("article.user").last.hover()
    chat.button("Edit").click()
    edited = chat.page.locator(".editing textarea")
    expect(edited).to_be_focused()
    edited.fill("Third")
    edited.press("Control+Enter")
    expect(chat.answers).to_have_text(["You said: First", "You said: Third"])
    chat.wait_for_end()
    ollama.script = Script(["Something else."])
    chat.button("Answer again").click()
    expect(chat.answers).to_have_text(["You said: First", "Something else."])
    chat.wait_for_end()

    expect(chat.page.locator(".siblings")).to_have_text(["2 / 2", "2 / 2"])
    chat.button("Previous version").click()
    expect(chat.answers.last).to_have_text("You said: Third")
    chat.page.locator("article.user").last.hover()
    chat.page.locator("article.user").last.get_by_role("button", name="Previous version").click()
    expect(chat.answers.last).to_have_text("You said: Second")
    expect(chat.questions).to_have_text(["First", "Second"])


def test_an_answer_is_given_again_by_another_model(chat: Chat, ollama: ScriptedOllama) -> None:
    chat.say("Hello")
    chat.choose("More", "Answer again with another model")
    chat.page.get_by_label("With the model").select_option("tiny:latest")
    chat.page.get_by_role("dialog").get_by_role("button", name="Answer again").click()

    expect(chat.page.locator(".siblings")).to_have_text("2 / 2")
    expect(chat.page.locator(".facts").last).to_contain_text("tiny")
    assert ollama.chats[-1].body["model"] == "tiny:latest"


def test_a_conversation_is_forked_and_cut_off(chat: Chat) -> None:
    chat.say("First")
    chat.say("Second")
    chat.page.locator("article.bot").first.hover()
    chat.page.locator("article.bot").first.get_by_role("button", name="More").click()
    chat.page.get_by_role("menuitem", name="New conversation from here").click()
    expect(chat.threads).to_have_count(2)
    expect(chat.questions).to_have_text(["First"])
    assert Thread.objects.count() == 2

    chat.page.go_back()
    expect(chat.questions).to_have_count(2)
    chat.page.locator("article.user").last.hover()
    chat.choose("More", "Delete from here on")
    chat.page.get_by_role("button", name="Delete", exact=True).click()
    expect(chat.answers).to_have_text(["You said: First"])


def test_an_answer_is_rated_rated_otherwise_and_not_at_all(chat: Chat) -> None:
    chat.say("Hello")
    good, bad = chat.button("Good answer"), chat.button("Bad answer")
    good.click()
    expect(good).to_have_attribute("aria-pressed", "true")
    bad.click()
    expect(bad).to_have_attribute("aria-pressed", "true")
    expect(good).to_have_attribute("aria-pressed", "false")
    assert Message.objects.get(sender=Sender.BOT).rating == -1

    chat.page.reload()
    expect(bad).to_have_attribute("aria-pressed", "true")
    bad.click()
    expect(bad).to_have_attribute("aria-pressed", "false")
    assert Message.objects.get(sender=Sender.BOT).rating is None


def test_a_text_from_right_to_left_is_shown_so(chat: Chat, ollama: ScriptedOllama) -> None:
    ollama.script = Script([RIGHT_TO_LEFT])
    chat.say(RIGHT_TO_LEFT, RIGHT_TO_LEFT)

    for text in (chat.questions.last, chat.answers.last.locator("p")):
        assert text.evaluate("(element) => getComputedStyle(element).direction") == "rtl"


def test_it_follows_the_end_only_while_one_is_there(chat: Chat, ollama: ScriptedOllama) -> None:
    lines = [f"Line {number}\n\n" for number in range(60)]
    ollama.script = Script([*lines, "the end"], hold_after=50)
    scroller = chat.page.locator(".scroller")
    top = "(element) => Math.round(element.scrollHeight - element.scrollTop - element.clientHeight)"
    chat.send("Go on")
    expect(chat.answers.last).to_contain_text("Line 49")
    chat.page.wait_for_function(f"() => ({top})(document.querySelector('.scroller')) < 5")
    scroller.hover()
    chat.page.mouse.wheel(0, -600)
    expect(chat.button("To the newest message")).to_be_visible()
    place = scroller.evaluate("(element) => element.scrollTop")
    ollama.release()
    chat.wait_for_end()
    expect(chat.answers.last).to_contain_text("the end")

    assert scroller.evaluate("(element) => element.scrollTop") == place
    chat.button("To the newest message").click()
    chat.page.wait_for_function(f"() => ({top})(document.querySelector('.scroller')) < 5")


def test_what_is_unchanged_stays_the_same_element_while_an_answer_grows(
    chat: Chat, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(["First.\n\n", "Second", " goes on.\n\n", "Third."], hold_after=2)
    chat.send("Go on")
    expect(chat.answers.last.locator("p")).to_have_text(["First.", "Second"])
    first = chat.answers.last.locator("p").first.element_handle()
    ollama.release()
    chat.wait_for_end()

    expect(chat.answers.last.locator("p")).to_have_text(["First.", "Second goes on.", "Third."])
    assert first.evaluate("(element) => element.isConnected")
