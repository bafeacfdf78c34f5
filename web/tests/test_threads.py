"""The list of conversations."""

import json
from pathlib import Path

from playwright.sync_api import Browser, expect

from chat.models import Thread
from testing.people import create_session
from testing.scripted_ollama import Script, ScriptedOllama
from testing.waiting import wait_until
from web.tests.conftest import SECONDS, Chat


def menu_of(chat: Chat, title: str, choice: str) -> None:
    chat.page.get_by_role("button", name=f"What to do with “{title}”").click()
    chat.page.get_by_role("menuitem", name=choice, exact=True).click()


def test_threads_are_pinned_renamed_archived_and_deleted(chat: Chat) -> None:
    page = chat.page
    for title in ("First", "Second", "Third"):
        chat.thread(title=title)
    chat.page.reload()
    expect(chat.threads).to_have_count(3)

    menu_of(chat, "First", "Pin")
    expect(page.get_by_role("heading", name="Pinned")).to_be_visible()
    expect(chat.threads.first).to_contain_text("First")

    menu_of(chat, "Second", "Rename")
    page.get_by_label("Title").fill("Renamed")
    page.keyboard.press("Enter")
    expect(chat.threads.filter(has_text="Renamed")).to_have_count(1)

    menu_of(chat, "Third", "Archive")
    expect(chat.threads).to_have_count(2)
    chat.choose("ann", "Archived conversations")
    expect(chat.threads).to_have_text(["Third"])
    menu_of(chat, "Third", "Back from the archive")
    chat.choose("ann", "Conversations")
    expect(chat.threads).to_have_count(3)

    menu_of(chat, "Renamed", "Delete")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(chat.threads).to_have_count(2)
    assert set(Thread.objects.values_list("title", "pinned")) == {("First", True), ("Third", False)}


def test_one_searches_as_one_types_and_arrives_at_the_message(chat: Chat) -> None:
    chat.say("The llama eats hay")
    chat.say("A camel drinks water")
    chat.page.get_by_role("link", name="New conversation").click()
    search = chat.page.get_by_role("searchbox")
    search.press_sequentially("ham", delay=20)
    expect(chat.page.get_by_text("Nothing was found.")).to_be_visible()
    search.fill("eats h")
    expect(chat.threads.locator("mark").first).to_be_visible()

    search.press("ArrowDown")  # to the title
    chat.page.keyboard.press("ArrowDown")
    chat.page.keyboard.press("Enter")

    expect(chat.questions).to_have_count(2)
    expect(chat.page.locator("article:focus")).to_contain_text("The llama eats hay")


def test_a_new_thread_is_temporary_with_a_model_and_a_prompt_of_its_own(
    chat: Chat, ollama: ScriptedOllama
) -> None:
    page = chat.page
    chat.choose("Conversation", "Model and settings")
    page.get_by_label("Model", exact=True).select_option("tiny:latest")
    page.get_by_label("System prompt").fill("Answer in rhymes.")
    page.get_by_label("Keep this conversation").select_option("temporary: for a day")
    page.get_by_text("Options of the model").click()
    page.get_by_label("temperature").fill("0.5")
    page.get_by_role("button", name="Use these").click()
    chat.say("Hello")

    thread = Thread.objects.get()
    assert (thread.model, thread.system_prompt) == ("tiny:latest", "Answer in rhymes.")
    assert thread.options == {"temperature": 0.5}
    assert thread.expires_at
    expect(chat.threads).to_contain_text("temporary")
    chat.choose("Conversation", "Model and settings")
    expect(page.get_by_label("System prompt")).to_have_value("Answer in rhymes.")
    page.get_by_label("Keep this conversation").select_option("for good")
    page.get_by_label("System prompt").fill("")
    page.get_by_role("button", name="Save").click()
    wait_until(lambda: not Thread.objects.get().expires_at, SECONDS)
    assert Thread.objects.get().system_prompt is None


def test_a_thread_is_exported_and_an_account_imported(chat: Chat, tmp_path: Path) -> None:
    chat.say("Hello")
    with chat.page.expect_download() as text:
        menu_of(chat, "Hello", "Export as text")
    assert "You said: Hello" in Path(text.value.path()).read_text()
    with chat.page.expect_download() as everything:
        chat.choose("ann", "Export everything")
    file = tmp_path / "export.ndjson"
    file.write_bytes(Path(everything.value.path()).read_bytes())
    menu_of(chat, "Hello", "Delete")
    chat.page.get_by_role("button", name="Delete", exact=True).click()
    expect(chat.threads).to_have_count(0)

    chat.choose("ann", "Import conversations")
    chat.page.get_by_label("File").set_input_files(file)
    expect(chat.page.get_by_role("dialog")).to_contain_text("1 imported, with 2 messages")
    chat.page.get_by_label("File").set_input_files(file)
    expect(chat.page.get_by_role("dialog")).to_contain_text("1 were here already")
    nonsense = tmp_path / "nonsense.json"
    nonsense.write_text(json.dumps({"a": 1}))
    chat.page.get_by_label("File").set_input_files(nonsense)
    expect(chat.page.get_by_role("dialog").get_by_role("status")).not_to_contain_text("imported,")
    chat.page.keyboard.press("Escape")

    chat.threads.get_by_role("link").click()
    expect(chat.answers).to_have_text("You said: Hello")


def test_two_windows_tell_each_other_what_runs_and_what_has_news(
    chat: Chat, ollama: ScriptedOllama
) -> None:
    ollama.scripts.extend([Script(["Hi."]), Script(["one ", "two"], hold_after=1)])
    chat.say("Hello", "Hi.")
    other = chat.new_window()
    other.goto(chat.url)
    expect(other.locator(".threads li")).to_have_count(1)

    chat.send("Count")
    expect(other.locator(".dot.running")).to_be_visible()
    expect(chat.answers.last).to_have_text("one")
    ollama.release()

    chat.wait_for_end()
    expect(other.locator(".dot.news")).to_be_visible()
    other.locator(".threads a").click()
    expect(other.locator("article.bot .markdown").last).to_have_text("one two")
    expect(other.locator(".dot")).to_have_count(0)


def test_another_device_follows(chat: Chat, browser: Browser, ollama: ScriptedOllama) -> None:
    ollama.script = Script(["one ", "two"], hold_after=1)
    device = Chat(browser, chat.url)
    key = create_session(chat.user)
    device.context.add_cookies([{"name": "sessionid", "value": key, "url": chat.url}])
    device.open()

    chat.send("Count")
    expect(device.page.locator(".dot.running")).to_be_visible()
    device.threads.get_by_role("link").click()
    expect(device.answers).to_have_text("one")
    ollama.release()
    expect(device.answers).to_have_text("one two")
    menu_of(device, "Count", "Pin")

    expect(chat.page.get_by_role("heading", name="Pinned")).to_be_visible()
    device.context.close()
    assert not device.errors


def test_two_windows_show_the_same_conversation(chat: Chat, ollama: ScriptedOllama) -> None:
    ollama.scripts.extend([Script(["Hi."]), Script(["one ", "two"], hold_after=1)])
    chat.say("Hello", "Hi.")
    other = chat.new_window()
    other.goto(chat.page.url)
    answers = other.locator("article.bot .markdown")
    expect(answers).to_have_text(["Hi."])

    chat.send("Count")
    expect(answers).to_have_text(["Hi.", "one"])
    other.get_by_role("button", name="Stop").click()

    expect(other.get_by_text("Stopped.")).to_be_visible()
    expect(chat.page.get_by_text("Stopped.")).to_be_visible()
