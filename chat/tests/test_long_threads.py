"""Sends to long threads: what is read of them, what is kept of a turn that is too long."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chat.models import Message, MessageStatus, Sender, Thread
from chat.prompt.estimate import VERSION, estimate
from chat.prompt.path import read_path
from chat.prompt.window import OMISSION, front_key, plan
from chat.replies import store
from chat.replies.drafts import Draft
from testing.people import Caller, create_user
from testing.replies import reply_of
from testing.scripted_ollama import Script, ScriptedOllama

WINDOW = 1024


def a_long_thread(turns: int, *, tokens: int | None = 20, **fields: object) -> Thread:
    """Return a thread of Ann's whose turns all have `tokens` in question and reply."""
    thread = Thread.objects.create(user=create_user("ann"), model="llama3.2", **fields)
    first = Message.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    Message.objects.bulk_create(
        Message(
            pk=first + 1 + number,
            thread=thread,
            parent_id=first + number if number else None,
            sender=Sender.BOT if number % 2 else Sender.USER,
            content=f"{number} words in a message",
            tokens=tokens,
            estimator=VERSION,
            turns_kept=number // 2 if number % 2 else None,
            turns_dropped=0 if number % 2 else None,
        )
        for number in range(2 * turns)
    )
    return thread


@pytest.mark.usefixtures("database")
class TestReading:
    def end_of(self, thread: Thread) -> Message:
        return thread.messages.latest("pk")

    @pytest.mark.parametrize("tokens", [20, None])
    def test_of_a_thread_whose_front_has_changed_what_fills_the_window_is_read(
        self, tokens: int | None
    ) -> None:
        thread = a_long_thread(1000, tokens=tokens)

        with CaptureQueriesContext(
            connection,
        ) as queries:
            path = read_path(thread, self.end_of(thread), WINDOW)

        assert len(queries) == 2  # the end itself, and the path to it
        assert 30 < len(path) < 50
        assert [message.parent_id for message in path[1:]] == [message.pk for message in path[:-1]]
        assert path[-1] == self.end_of(thread)

    def test_of_another_thread_the_turns_since_the_starting_point_are_read(self) -> None:
        thread = a_long_thread(1000)
        end = self.end_of(thread)
        start = end.pk - 9
        end.context_start, end.context_key = start, front_key(thread, start, WINDOW)

        path = read_path(thread, end, WINDOW)

        assert [message.pk for message in path] == list(range(start, end.pk + 1))

    def test_the_turns_that_were_not_read_are_counted_as_dropped(self) -> None:
        thread = a_long_thread(1000)

        prompt = plan(thread, read_path(thread, self.end_of(thread), WINDOW), "And?", WINDOW)

        assert len(prompt.turns) + prompt.turns_dropped == 1000
        assert 0 < len(prompt.turns) < 25

    def test_a_message_that_was_added_after_the_thread_was_read_moves_the_branch(self) -> None:
        thread = a_long_thread(2)
        draft = Draft(thread.user, thread.pk, "And?", "newest", "")
        elsewhere = store.start(draft, Thread.objects.get(pk=thread.pk), WINDOW)
        Message.objects.filter(pk=elsewhere.reply.pk).update(
            status=MessageStatus.COMPLETE, heartbeat_at=None
        )

        with pytest.raises(store.BranchMoved):
            store.start(draft, thread, WINDOW)


def test_messages_keep_their_size(ann: Caller) -> None:
    thread = ann.thread()
    ann.say(thread, "Hello, llama!")

    question, reply = thread.messages.order_by("pk")

    assert (question.tokens, question.estimator) == (12 + 2 + 1 + 2 + 1, VERSION)
    assert (reply.tokens, reply.estimator) == (estimate("You said: Hello, llama!"), VERSION)


def test_the_last_turn_is_kept_though_its_reply_is_as_long_as_the_window(
    ann: Caller, ollama: ScriptedOllama
) -> None:
    thread = ann.thread(options={"num_ctx": 1024})
    story = [f"word{number} " for number in range(1000)]
    ollama.scripts += [Script(story)]
    ann.say(thread, "Tell me a story")

    ann.say(thread, "What was it about?")

    _, question, reply, _ = ollama.chats[-1].messages
    assert question["content"] == "Tell me a story"
    assert reply["content"].startswith("word0 word1 ")
    assert reply["content"].rstrip().endswith("word998 word999")
    assert OMISSION in reply["content"]
    assert ollama.chats[-1].prompt_tokens <= 768
    row = reply_of(thread)
    length = len("".join(story)) - len(reply["content"])
    assert (row.turns_kept, row.turns_dropped) == (1, 0)
    assert row.characters_cut == length
    messages = ann.get(f"/chat/threads/{thread.pk}/messages/").json()["messages"]
    assert messages[-1]["context"]["characters_cut"] == length

    ann.say(thread, "Thanks")  # the story is not counted as if it had been sent whole

    assert ollama.chats[-1].prompt_tokens <= 768
    assert reply_of(thread).turns_kept == 1


class TestPromptsThatTheModelRefuses:
    REFUSAL = Script(status=400, error="the request exceeds the available context size (4096)")

    def test_half_of_the_turns_are_sent_before_anybody_sees_an_error(
        self, ann: Caller, ollama: ScriptedOllama
    ) -> None:
        thread = ann.thread()
        for number in range(4):
            ann.say(thread, f"Question {number}")
        ollama.scripts += [self.REFUSAL]

        answer = ann.say(thread, "And?")

        assert answer.text == "You said: And?"
        refused, accepted = ollama.chats[-2:]
        assert len(refused.messages) - len(accepted.messages) == 2 * 2
        assert accepted.messages[1]["content"] == "Question 2"
        row = reply_of(thread)
        assert (row.turns_kept, row.turns_dropped) == (2, 2)

        ann.say(thread, "Go on")  # from the new starting point

        assert ollama.chats[-1].messages[1]["content"] == "Question 2"

    def test_a_message_that_is_too_long_by_itself_is_refused(
        self, ann: Caller, ollama: ScriptedOllama
    ) -> None:
        thread = ann.thread()
        ann.say(thread, "Hello")
        ollama.scripts += [self.REFUSAL, self.REFUSAL]

        answer = ann.say(thread, "And?")

        assert answer.status_code == 400
        assert "too long" in answer.json()["error"]
        assert thread.messages.count() == 2
