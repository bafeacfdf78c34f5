"""Random edits, regenerations, stops, deletions, forks and switches, against a model in memory."""

from dataclasses import dataclass, field
from typing import Any

import httpx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chat.models import Message, Thread
from testing.people import Caller
from testing.scripted_ollama import Script, ScriptedOllama
from testing.streams import SSE, Reading, events_of

STEPS, STEPS_OF_ONE, RUNS = 2000, 50, 45  # a few runs are shorter
LOOKED_AT = 4  # every so many steps through the API; after each, the rows are compared

which = st.integers(0, 999)  # of those that there are


@dataclass
class Node:
    """A message."""

    parent: int | None
    text: str
    status: str = "complete"
    is_reply: bool = False


@dataclass
class Tree:
    """A thread as it ought to be."""

    nodes: dict[int, Node] = field(default_factory=dict)
    current: int | None = None

    def path(self, end: int | None) -> list[int]:
        """Return the messages from the first one to this."""
        path: list[int] = []
        while end is not None:
            path.insert(0, end)
            end = self.nodes[end].parent
        return path

    def below(self, top: int) -> set[int]:
        """Return a message and all that follow it."""
        return {pk for pk in self.nodes if top in self.path(pk)}

    def siblings(self, pk: int) -> list[int]:
        parent = self.nodes[pk].parent
        return sorted(other for other, node in self.nodes.items() if node.parent == parent)

    def add_turn(self, parent: int | None, text: str, start: dict[str, Any], said: Node) -> None:
        """Add a question and its reply, which end the current branch; `start` has their ids."""
        self.nodes[start["message_id"]] = Node(parent, text)
        self.add_reply(start["message_id"], start["reply_id"], said)

    def add_reply(self, question: int, reply: int, said: Node) -> None:
        """Add a reply, which ends the current branch."""
        said.parent, said.is_reply = question, True
        self.nodes[reply], self.current = said, reply

    def delete(self, top: int) -> None:
        """Delete a message with all that follows it."""
        parent, gone = self.nodes[top].parent, self.below(top)
        around = self.nodes if parent is None else self.below(parent)
        left = set(around) - gone
        if self.current in gone:
            self.current = max(left, default=None)
        for pk in gone:
            del self.nodes[pk]


class Trees(RuleBasedStateMachine):
    """What Ann does to her threads, through the API and in the model."""

    looked = 0  # how often all has been compared

    def __init__(self, ann: Caller, ollama: ScriptedOllama) -> None:
        super().__init__()
        self.ann, self.ollama = ann, ollama
        self.trees: dict[int, Tree] = {}
        self.said = 0

    def teardown(self) -> None:
        self.ann.delete("/chat/threads/delete/")

    # --- What there is to choose from

    def some_thread(self, number: int) -> tuple[int, Tree]:
        pk = sorted(self.trees)[number % len(self.trees)]
        return pk, self.trees[pk]

    def some_message(self, number: int) -> tuple[int, Tree, int]:
        everything = [
            (pk, one) for pk in sorted(self.trees) for one in sorted(self.trees[pk].nodes)
        ]
        pk, message = everything[number % len(everything)]
        return pk, self.trees[pk], message

    def has_messages(self) -> bool:
        return any(tree.nodes for tree in self.trees.values())

    def next_text(self) -> str:
        self.said += 1
        return f"say {self.said}"

    # --- How replies are asked for

    def ask(self, url: str, body: dict[str, Any], script: Script) -> tuple[httpx.Response, Any]:
        """Have a reply written; return the answer, and the first event's data where it worked."""
        self.ollama.scripts.append(script)
        answer = self.ann.post(url, json=body, headers=SSE)
        self.ollama.scripts.clear()
        if answer.status_code != 200:
            return answer, None
        return answer, events_of(answer.text)[0].data

    def require_prompt(self, tree: Tree, question: int) -> None:
        """Look at what the model saw: the path to the question, with its replies."""
        path = [tree.nodes[pk] for pk in tree.path(question)]
        expected = [node.text for node in path if node.text]
        seen = [message["content"] for message in self.ollama.chats[-1].messages[1:]]
        assert seen == expected

    def reply(self) -> Node:
        return Node(None, f"reply {self.said}")

    # --- What Ann does

    @rule()
    def begin(self) -> None:
        text, said = self.next_text(), self.reply()
        _, start = self.ask("/chat/streaming-response/new/", {"message": text}, Script([said.text]))
        tree = self.trees[start["thread_id"]] = Tree()
        tree.add_turn(None, text, start, said)

    @rule()
    def begin_in_vain(self) -> None:
        body = {"message": self.next_text()}
        self.ask("/chat/streaming-response/new/", body, Script(status=500))

    @precondition(lambda self: self.trees)
    @rule(number=which)
    def send(self, number: int) -> None:
        pk, tree = self.some_thread(number)
        self.send_after(pk, tree, tree.current, {})

    @precondition(lambda self: self.has_messages())
    @rule(number=which)
    def edit(self, number: int) -> None:
        pk, tree, message = self.some_message(number)
        if tree.nodes[message].is_reply:
            message = tree.nodes[message].parent or message
        parent = tree.nodes[message].parent
        if parent is not None and not tree.nodes[parent].is_reply:
            return  # it follows a question whose reply was deleted: that cannot be named
        self.send_after(pk, tree, parent, {"parent_id": parent})

    def send_after(self, pk: int, tree: Tree, parent: int | None, body: dict[str, Any]) -> None:
        text, said = self.next_text(), self.reply()
        url = f"/chat/streaming-response/{pk}/"
        _, start = self.ask(url, {"message": text, **body}, Script([said.text]))
        tree.add_turn(parent, text, start, said)
        self.require_prompt(tree, start["message_id"])

    @precondition(lambda self: self.trees)
    @rule(number=which)
    def send_in_vain(self, number: int) -> None:
        pk, _ = self.some_thread(number)
        url = f"/chat/streaming-response/{pk}/"
        self.ask(url, {"message": self.next_text()}, Script(status=500))

    @precondition(lambda self: self.has_messages())
    @rule(number=which, in_vain=st.booleans())
    def regenerate(self, number: int, in_vain: bool) -> None:
        pk, tree, message = self.some_message(number)
        self.said += 1
        said = self.reply()
        script = Script(status=500) if in_vain else Script([said.text])
        _, start = self.ask(f"/chat/threads/{pk}/regenerate/", {"message_id": message}, script)
        question = tree.nodes[message].parent if tree.nodes[message].is_reply else message
        assert question is not None
        assert start["message_id"] == question
        if not in_vain:
            tree.add_reply(question, start["reply_id"], said)
            self.require_prompt(tree, question)

    @precondition(lambda self: self.trees)
    @rule(number=which)
    def stop(self, number: int) -> None:
        pk, tree = self.some_thread(number)
        text, parent = self.next_text(), tree.current
        self.ollama.scripts.append(Script(["half ", "rest"], hold_after=1))
        url, body = f"/chat/streaming-response/{pk}/", {"message": text}
        with self.ann.stream("POST", url, json=body, headers=SSE) as response:
            reading = Reading(response)
            reading.until("half")
            stopped = self.ann.post(f"/chat/threads/{pk}/stop/").json()
            start = events_of(reading.to_the_end())[0].data
        assert stopped == {"status": "stopped"}
        said = Node(None, "half ", "stopped")
        tree.add_turn(parent, text, start, said)

    @precondition(lambda self: self.has_messages())
    @rule(number=which)
    def delete(self, number: int) -> None:
        pk, tree, message = self.some_message(number)
        answer = self.ann.delete(f"/chat/threads/{pk}/messages/{message}/")
        assert answer.status_code == 200, answer.text
        tree.delete(message)

    @precondition(lambda self: self.has_messages())
    @rule(number=which)
    def switch(self, number: int) -> None:
        pk, tree, message = self.some_message(number)
        answer = self.ann.put(f"/chat/threads/{pk}/branch/", json={"message_id": message})
        tree.current = max(tree.below(message))
        assert answer.json()["current_message_id"] == tree.current

    @precondition(lambda self: self.has_messages() and len(self.trees) < 5)
    @rule(number=which)
    def fork(self, number: int) -> None:
        pk, tree, message = self.some_message(number)
        answer = self.ann.post(f"/chat/threads/{pk}/fork/", json={"message_id": message})
        copy = answer.json()["thread"]
        path = tree.path(message)
        page = self.ann.get(f"/chat/threads/{copy['id']}/messages/").json()["messages"]
        forked = self.trees[copy["id"]] = Tree(current=copy["current_message_id"])
        parent = None
        for original, message_of_copy in zip(path, page, strict=True):
            node = tree.nodes[original]
            forked.nodes[message_of_copy["id"]] = Node(
                parent, node.text, node.status, node.is_reply
            )
            parent = message_of_copy["id"]

    @precondition(lambda self: len(self.trees) > 2)
    @rule(number=which)
    def delete_thread(self, number: int) -> None:
        pk, _ = self.some_thread(number)
        self.ann.delete(f"/chat/threads/{pk}/delete/")
        del self.trees[pk]

    # --- What is compared after each step

    @invariant()
    def the_rows_are_those_of_the_model(self) -> None:
        rows = Message.objects.visible().values_list(
            "thread_id", "pk", "parent_id", "content", "status"
        )
        assert sorted(rows) == sorted(
            (thread, pk, node.parent, node.text, node.status)
            for thread, tree in self.trees.items()
            for pk, node in tree.nodes.items()
        )
        ends = dict(Thread.objects.values_list("pk", "current_message_id"))
        assert ends == {pk: tree.current for pk, tree in self.trees.items()}

    @invariant()
    def the_api_shows_them(self) -> None:
        Trees.looked += 1
        if Trees.looked % LOOKED_AT:
            return
        listed = {one["id"]: one for one in self.ann.get("/chat/threads/").json()["threads"]}
        assert listed.keys() == self.trees.keys()
        for pk, tree in self.trees.items():
            end = tree.nodes[tree.current].text if tree.current else ""
            assert (listed[pk]["preview"], listed[pk]["running_reply_id"]) == (end, None)
        if self.trees:
            pk, tree = self.some_thread(self.said)
            page = self.ann.get(f"/chat/threads/{pk}/messages/").json()["messages"]
            shown = [(m["id"], m["parent_id"], m["content"], m["sibling_ids"]) for m in page]
            assert shown == [
                (one, tree.nodes[one].parent, tree.nodes[one].text, tree.siblings(one))
                for one in tree.path(tree.current)
            ]


def test_threads_are_what_a_model_in_memory_is(ann: Caller, ollama: ScriptedOllama) -> None:
    Trees.looked = 0
    run_state_machine_as_test(
        lambda: Trees(ann, ollama),  # type: ignore[arg-type]  # a class or what makes one
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS_OF_ONE,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Trees.looked - RUNS >= STEPS
