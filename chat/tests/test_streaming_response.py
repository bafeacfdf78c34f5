"""POST /chat/streaming-response/<id>/: a message, and the reply as it is written."""

from chat.models import Message
from testing.people import Caller


def test_a_reply_is_streamed_as_text_and_both_messages_are_kept(ann: Caller) -> None:
    thread = ann.thread()

    answer = ann.say(thread, "Hello")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == "You said: Hello"
    question, reply = Message.objects.filter(thread=thread).order_by("pk")
    assert (question.sender, question.content) == ("user", "Hello")
    assert (reply.sender, reply.content, reply.status) == ("bot", "You said: Hello", "complete")
    assert reply.parent == question
    assert answer.headers["Reply-Id"] == str(reply.pk)
