"""An orphaned reply is carried on from its last character, and its readers are told."""

import pytest

from chat.models import Message, Usage
from chat.replies.owner import NOBODY
from chat.replies.takeover import STALE_AFTER, SWEEP_SECONDS
from chat.tests.taking_over import ALIVE_HERE, DEAD_HERE, ELSEWHERE, WHOLE, WORDS, orphan
from testing.people import Caller
from testing.replies import reply_of, wait_for_status
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import (
    NDJSON,
    SSE,
    events_of,
    following,
    path_of,
    text_of,
)
from testing.waiting import wait_until


class TestAnOrphan:
    @pytest.mark.parametrize(
        ("owner", "seconds"), [(ELSEWHERE, 9), (ALIVE_HERE, 9), (DEAD_HERE, 0), (NOBODY, 0)]
    )
    @pytest.mark.parametrize("written", ["", "You sa"])
    def test_an_orphan_is_carried_on_for_its_reader(
        self, ann: Caller, owner: str, seconds: float, written: str
    ) -> None:
        thread = ann.thread()
        reply = orphan(thread, owner, seconds, written)

        events = events_of(ann.get(path_of(thread), headers=SSE).text)

        assert [events[0].type, events[-1].type] == ["start", "end"]
        assert text_of(events) == "You said: Hello"
        reply.refresh_from_db()
        assert (reply.status, reply.content) == ("complete", "You said: Hello")
        assert reply.rewind_offset == len(written)

    def test_an_orphan_is_carried_on_though_nobody_reads_it(self, ann: Caller) -> None:
        thread = ann.thread()
        orphan(thread, DEAD_HERE, 0, "You")

        assert wait_for_status(thread, "complete").content == "You said: Hello"

    def test_an_orphan_elsewhere_is_found_within_ten_seconds(self, ann: Caller) -> None:
        thread = ann.thread()
        orphan(thread, ELSEWHERE, 0, "You")
        bound = STALE_AFTER.total_seconds() + SWEEP_SECONDS
        assert bound <= 9, "a second is for finding it"

        found = Message.objects.filter(thread=thread, rewind_offset=3)
        wait_until(found.exists, bound + 5)  # on a busy machine

    @pytest.mark.parametrize(("owner", "seconds"), [(ELSEWHERE, 5), (ALIVE_HERE, 5)])
    def test_a_process_that_may_live_keeps_its_replies(
        self, ann: Caller, owner: str, seconds: float
    ) -> None:
        thread = ann.thread()
        orphan(thread, owner, seconds)

        answer = ann.say(thread)

        assert (answer.status_code, answer.json()["code"]) == (409, "reply_in_progress")
        assert reply_of(thread).owner == owner

    def test_what_has_thoughts_only_begins_anew(self, ann: Caller, ollama: ScriptedOllama) -> None:
        thread = ann.thread(model="thinker")
        ollama.script = Script(["Hi"], thinking=["Hm", "m"])
        orphan(thread, DEAD_HERE, 0, thinking="Hmmmmmmm")

        reply = wait_for_status(thread, "complete")

        assert (reply.thinking, reply.content) == ("Hmm", "Hi")

    def test_after_three_takeovers_a_reply_is_interrupted(self, ann: Caller) -> None:
        thread = ann.thread()
        orphan(thread, DEAD_HERE, 0, "You", takeovers=3)

        reply = wait_for_status(thread, "interrupted")

        assert reply.content == "You"
        assert ann.say(thread, "Go on").text == "You said: Go on"

    def test_a_stop_stops_an_orphan(self, ann: Caller) -> None:
        thread = ann.thread()
        orphan(thread, ELSEWHERE, 5, "You")

        assert ann.post(f"/chat/threads/{thread.pk}/stop/").json() == {"status": "stopped"}

        assert (reply_of(thread).status, reply_of(thread).content) == ("stopped", "You")

    def test_a_text_is_carried_on_from_the_very_character(
        self, ann: Caller, ollama: ScriptedOllama
    ) -> None:
        text = "Größe 👩‍👩‍👧 é 模型"
        for length in range(1, len(text)):
            thread = ann.thread()
            ollama.script = Script([text])
            orphan(thread, DEAD_HERE, 0, text[:length])

            events = events_of(ann.get(path_of(thread), headers=SSE).text)

            assert text_of(events) == text == reply_of(thread).content

    @pytest.mark.parametrize(("written", "left"), [(4, 2), (6, 1), (8, 4)])
    def test_what_is_written_counts_towards_the_limit_of_a_reply(
        self, ann: Caller, ollama: ScriptedOllama, written: int, left: int
    ) -> None:
        """One that has more tokens than its limit was continued by its user, so it has more."""
        thread = ann.thread(options={"num_predict": 6})
        ollama.script = Script([*WORDS, *WORDS])
        orphan(thread, DEAD_HERE, 0, "".join(WORDS[:written]), completion_tokens=written)

        reply = wait_for_status(thread, "complete")

        assert ollama.chats[-1].options["num_predict"] == left
        assert reply.completion_tokens == written + left

    def test_what_was_computed_is_counted_as_used(self, ann: Caller) -> None:
        thread = ann.thread()
        orphan(thread, DEAD_HERE, 0, "You said", context_tokens=100, completion_tokens=2)

        reply = wait_for_status(thread, "complete")

        used = Usage.objects.get(user=thread.user)
        assert used.replies == 1
        assert used.prompt_tokens > 100
        assert reply.completion_tokens == used.completion_tokens

    def test_a_quota_that_ran_out_does_not_cut_an_orphan(self, ann: Caller) -> None:
        thread = ann.thread()
        thread.user.daily_tokens = 1
        thread.user.save()
        orphan(thread, DEAD_HERE, 0, "You", context_tokens=100)

        assert wait_for_status(thread, "complete").content == "You said: Hello"


class TestReaders:
    def test_a_reader_who_was_ahead_of_what_was_stored_is_told_to_rewind(
        self, ann: Caller, ollama: ScriptedOllama
    ) -> None:
        thread = ann.thread()
        ollama.script = Script(WORDS)
        orphan(thread, DEAD_HERE, 0, "word0 wo")

        with following(ann, thread, offset=20) as reading:
            events = events_of(reading.to_the_end())

        assert [event.type for event in events[:2]] == ["start", "rewind"]
        assert (events[1].data, events[1].id) == ({"offset": 8}, "8")
        assert text_of(events) == WHOLE[8:]

    def test_a_reader_who_was_not_ahead_goes_on(self, ann: Caller, ollama: ScriptedOllama) -> None:
        thread = ann.thread()
        ollama.script = Script(WORDS)
        orphan(thread, DEAD_HERE, 0, "word0 wo")

        with following(ann, thread, offset=8) as reading:
            events = events_of(reading.to_the_end())

        assert "rewind" not in {event.type for event in events}
        assert text_of(events) == WHOLE[8:]

    def test_json_lines_say_the_same(self, ann: Caller, ollama: ScriptedOllama) -> None:
        thread = ann.thread()
        ollama.script = Script(WORDS)
        orphan(thread, DEAD_HERE, 0, "word0 wo")

        with following(ann, thread, offset=20, **NDJSON) as reading:
            lines = reading.to_the_end().splitlines()

        assert lines[1] == '{"type":"rewind","offset":8}'

    def test_plain_text_says_in_a_header_where_it_begins(
        self, ann: Caller, ollama: ScriptedOllama
    ) -> None:
        thread = ann.thread()
        ollama.script = Script(WORDS)
        orphan(thread, DEAD_HERE, 0, "word0 wo")

        answer = ann.get(path_of(thread), params={"offset": 20})

        assert answer.headers["Reply-Offset"] == "8"
        assert answer.text == WHOLE[8:]
