"""What the settings of the queue change, and a server without one."""

from accounts.models import User
from chat.models import Message, Thread, Turn
from chat.tests.queueing import ONE, most_at_once, waiting
from testing.answers import refusal
from testing.people import Caller, create_user
from testing.processes import Server, StartServer
from testing.replies import reply_of, wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import events_of, path_of, sending, text_of
from testing.waiting import wait_until

WORDS = ["one ", "two ", "three "]


def title_of(thread: Thread) -> str:
    return Thread.objects.get(pk=thread.pk).title


def test_a_full_queue_refuses(start_server: StartServer, ollama: ScriptedOllama) -> None:
    ollama.script = Script(WORDS, hold_after=1)
    server = start_server(**ONE, OLLAMA_QUEUE_MAX="1")
    with Caller(server.url, create_user("ann")) as ann:
        running, queued, refused = ann.thread(), ann.thread(), ann.thread()
        with sending(ann, running) as reading:
            reading.until("one")
            with waiting(ann, queued, 0) as second:
                answer = ann.post(path_of(refused), json={"message": "Hello"})
                assert refusal(answer) == (503, "busy")
                assert 1 <= int(answer.headers["Retry-After"]) <= 300
                assert not Message.objects.filter(thread=refused).exists()
                ollama.release()
                second.until("one")
                ollama.release()
        wait_until(lambda: not Turn.objects.exists())
        ollama.script = Script(WORDS)
        assert ann.say(refused).text == "one two three "


def test_the_time_out_for_the_first_token_begins_with_the_turn(
    start_server: StartServer, ollama: ScriptedOllama
) -> None:
    ollama.scripts.append(Script(WORDS, interval=1.0))
    server = start_server(**ONE, OLLAMA_FIRST_TOKEN_TIMEOUT_SECONDS="1.5")
    with (
        Caller(server.url, create_user("ann")) as ann,
        sending(ann, ann.thread(), "First") as first,
    ):
        first.until("one")
        thread = ann.thread()
        with waiting(ann, thread, 0) as reading:
            events = events_of(reading.to_the_end())

    reply = reply_of(thread)
    assert (reply.status, text_of(events)) == ("complete", "You said: Hello")
    assert reply.first_token_ms is not None
    assert reply.first_token_ms < 1500


def test_a_reply_that_nobody_reads_leaves_the_queue(
    start_server: StartServer, ollama: ScriptedOllama
) -> None:
    ollama.scripts.append(Script(WORDS, hold_after=1))
    server = start_server(**ONE, CHAT_ABANDONED_REPLY_SECONDS="0")
    with (
        Caller(server.url, create_user("ann")) as ann,
        sending(ann, ann.thread(), "First") as first,
    ):
        first.until("one")
        thread = ann.thread()
        with waiting(ann, thread, 0):
            pass
        wait_for_status(thread, "stopped")
        ollama.release()
        first.to_the_end()
    assert len(ollama.chats) == 1


def test_a_title_takes_a_turn(start_server: StartServer, ollama: ScriptedOllama) -> None:
    ollama.scripts += [Script(["Andes."]), Script(WORDS, hold_after=1), Script(["Llamas"])]
    server = start_server(**ONE, CHAT_TITLES="model")
    with Caller(server.url, create_user("ann")) as ann:
        titled, other = ann.thread(), ann.thread(title="Given")
        ann.say(titled, "Where do llamas live?")
        with sending(ann, other, "Second") as reading:
            reading.until("event: start")
            ollama.wait_for_open(1)
            ollama.release()
            wait_until(lambda: title_of(titled) in ("Llamas", "one two three"))
            reading.to_the_end()
    assert most_at_once(ollama.chats) == 1


def test_without_a_limit_there_are_no_rows(
    shared_server: Server, database: None, ollama: ScriptedOllama
) -> None:
    ollama.script = Script(WORDS, hold_after=1)
    with (
        Caller(shared_server.url, create_user("ann")) as ann,
        sending(ann, ann.thread()) as one,
        sending(ann, ann.thread()) as two,
    ):
        one.until("one")
        two.until("one")
        assert ollama.open == 2
        assert not Turn.objects.exists()
        ollama.release()
    assert User.objects.count() == 1
