"""Chat templates: what the scripted Ollama renders of messages, and reads again in a raw prompt.

They are cut down from real ones, as far as they differ in how a reply can be carried on:

- ``chatml``: what Ollama makes of a bare GGUF. Messages that end with one of the assistant's begin
  a new answer all the same. With "think": false a thinking model's prompt closes the thoughts.
- ``llama3``: as in Ollama's library, where the last message of the assistant is left open.
- ``native``: the model's own template, run by llama.cpp; the answer repeats an open message.
- ``harmony``: gpt-oss's, whose answers have a channel, which the prompt leaves to the model.
- ``always-thinks``: a template that opens the thoughts itself, whatever "think" says.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

Template = Literal["chatml", "llama3", "native", "harmony", "always-thinks"]

CLOSED_THOUGHTS = "<think>\n\n</think>\n\n"
OPEN_THOUGHTS = "<think>\n"
HARMONY_FINAL = "<|channel|>final<|message|>"


class Marks(NamedTuple):
    """What stands around a message, and the pattern of a role."""

    begin: str
    after_role: str
    end: str

    def around(self, role: str, content: str) -> str:
        """Return a message that is closed."""
        return f"{self.opening(role)}{content}{self.end}"

    def opening(self, role: str) -> str:
        """Return the beginning of a message."""
        return f"{self.begin}{role}{self.after_role}"


CHATML = Marks("<|im_start|>", "\n", "<|im_end|>\n")
LLAMA3 = Marks("<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>")
HARMONY = Marks("<|start|>", "<|message|>", "<|end|>")


def marks_of(template: Template) -> Marks:
    """Return the marks of a template."""
    return {"llama3": LLAMA3, "harmony": HARMONY}.get(template, CHATML)


def shown(template: Template) -> str:
    """Return what /api/show says of a template, in Go's syntax or Jinja's: enough to judge it."""
    marks = marks_of(template)
    if template == "native":
        return (
            f"{{% for message in messages %}}{marks.begin}{{{{ message.role }}}}{marks.after_role}"
            f"{{{{ message.content }}}}{marks.end}{{% endfor %}}"
        )
    if template == "llama3":
        return (
            "{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 }}"
            f"{marks.begin}{{{{ .Role }}}}{marks.after_role}{{{{ .Content }}}}"
            f"{{{{ if not $last }}}}{marks.end}{{{{ end }}}}{{{{- end }}}}"
        )
    return (
        f"{{{{- range .Messages }}}}{marks.begin}{{{{ .Role }}}}{marks.after_role}"
        f"{{{{ .Content }}}}{marks.end}{{{{ end }}}}{marks.begin}assistant{marks.after_role}"
    )


def render(
    template: Template, messages: Sequence[Mapping[str, Any]], *, closes_thoughts: bool
) -> str:
    """Return the prompt of these messages, up to where the model begins to write."""
    marks = marks_of(template)
    prompt = "".join(marks.around(m["role"], m.get("content") or "") for m in messages)
    if template == "harmony":
        return f"{prompt}{marks.begin}assistant"
    prompt += marks.opening("assistant")
    if template == "always-thinks":
        return prompt + OPEN_THOUGHTS
    return prompt + (CLOSED_THOUGHTS if closes_thoughts else "")


def parse(template: Template, prompt: str) -> tuple[list[dict[str, str]], str]:
    """Return the messages of a raw prompt, and the text of the reply that it leaves open.

    A prompt that is not of this template, or has no open reply, has no messages or no text.
    """
    marks = marks_of(template)
    pattern = "(.*?)".join(map(re.escape, marks))
    closed = re.compile(pattern.replace("(.*?)", r"(\w+)", 1), re.DOTALL)
    messages, position = [], 0
    while found := closed.match(prompt, position):
        messages.append({"role": found[1], "content": found[2]})
        position = found.end()
    rest = prompt[position:]
    opening = f"{marks.begin}assistant"
    opening += HARMONY_FINAL if template == "harmony" else marks.after_role
    if not rest.startswith(opening):
        return messages, ""
    text = rest.removeprefix(opening)
    for thoughts in (CLOSED_THOUGHTS, OPEN_THOUGHTS + "\n</think>\n\n"):
        text = text.removeprefix(thoughts)
    # Thoughts that were left open are all that the model would see in what follows.
    return messages, "" if text.startswith(OPEN_THOUGHTS) else text
