"""Control marks of chat templates, which no text of a user may contain as they are.

Ollama does not tell a mark in a text from its own, so a user could end their message and speak in
another role. Templates that use plain words for roles (Vicuna's `USER:`) cannot be told from text.
"""

import re
import unicodedata
from functools import cache
from typing import NamedTuple


class Marks(NamedTuple):
    """A kind of marks: the models that have it, where that can be read, and its pattern.

    Each alternative of `pattern` begins with `<`, `[` or `]`. Case counts where code looks alike,
    such as `List<User>`. `examples` are all real.
    """

    models: str
    source: str
    pattern: str
    examples: tuple[str, ...]


# Sources: "llama.cpp" is src/llama-chat.cpp there, "Ollama" its folders template/ and
# model/renderers/, and a name with a slash the chat template of that model on Hugging Face.
TABLE = (
    Marks(
        "ChatML, Llama 3 and 4, Phi, Command R, GLM, Granite, Kimi, DeepSeek, Hunyuan, gpt-oss",
        "llama.cpp",
        r"<[|\uff5c][^\s|\uff5c]{1,50}[|\uff5c]>",
        ("<|im_start|>", "<|eot_id|>", "<|START_OF_TURN_TOKEN|>", "<\uff5cUser\uff5c>"),
    ),
    Marks(
        "Gemma 4",
        "Ollama: gemma4.go",
        r"<\|[A-Za-z]\w{0,30}>|<[A-Za-z]\w{0,30}\|>",
        ("<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|tool_response>"),
    ),
    Marks(
        "Gemma 1 to 3, FunctionGemma, SmolVLM",
        "llama.cpp; Ollama: functiongemma.go",
        r"<(?i:start|end)_(?i:of_(turn|image|utterance)|function_(call|response|declaration))>",
        ("<start_of_turn>", "<end_of_turn>", "<end_of_utterance>", "<start_function_response>"),
    ),
    Marks(
        "Llama 2, Mistral, GigaChat, Gemma, ChatGLM",
        "llama.cpp",
        r"</?s>|<(?i:<?/?SYS|bos|eos|pad|unk|sop|eop)>",
        ("</s>", "<s>", "<<SYS>>", "<</SYS>>", "<bos>", "<eos>", "<sop>"),
    ),
    Marks(
        "Mistral",
        "mistralai/Mistral-Small-3.2-24B-Instruct-2506, mistralai/Magistral-Small-2509",
        r"\[/?(?i:INST|SYSTEM_PROMPT|MODEL_SETTINGS|AVAILABLE_TOOLS|TOOL_[A-Z]+|THINK|ARGS"
        r"|CALL_ID)\]",
        ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[TOOL_RESULTS]", "[THINK]"),
    ),
    Marks(
        "Command R and A, Aya",
        "CohereLabs/c4ai-command-r-v01; Ollama: cohere.go",
        r"<(?i:[A-Z]+(_[A-Z]+){0,5}_TOKEN)>",
        ("<BOS_TOKEN>", "<EOS_TOKEN>", "<START_OF_TURN_TOKEN>"),
    ),
    Marks(
        "Ling, Ring (Bailing)",
        "llama.cpp",
        r"</?role>",
        ("<role>", "</role>"),
    ),
    Marks(
        "MiniMax M1 and M2",
        "MiniMaxAI/MiniMax-M2",
        r"\]~!?b[\[\]]|\[e~\[",
        ("]~b]", "]~!b[", "[e~["),
    ),
    Marks(
        "LongCat",
        "meituan-longcat/LongCat-Flash-Chat",
        r"</?(?i:longcat)_\w{1,30}>",
        ("<longcat_user>", "<longcat_assistant>", "</longcat_s>"),
    ),
    Marks(
        "Seed-OSS",
        "ByteDance-Seed/Seed-OSS-36B-Instruct",
        r"</?(?i:seed):\w{1,30}>",
        ("<seed:bos>", "<seed:eos>", "</seed:think>"),
    ),
    Marks(
        "Laguna, Alfred, Code Llama 70B",
        "Ollama: laguna.go, alfred.gotmpl, codellama-70b-instruct.gotmpl",
        r"</?(system|user|assistant)>|<start_(system|user|assistant)>|<end_message>|<step>",
        ("<system>", "</user>", "<start_assistant>", "<end_message>", "<step>"),
    ),
    Marks(
        "MiniCPM",
        "llama.cpp",
        "<(\u7528\u6237|AI)>",
        ("<\u7528\u6237>", "<AI>"),
    ),
    Marks(
        "EXAONE",
        "llama.cpp",
        r"\[\|[A-Za-z_]{1,20}\|\]|\[(?i:BOS|EOS)\]",
        ("[|system|]", "[|endofturn|]", "[BOS]"),
    ),
    Marks(
        "ChatGLM, GLM-4, YandexGPT",
        "llama.cpp",
        r"\[(?i:(g|s)?MASK|SEP)\]",
        ("[gMASK]", "[SEP]"),
    ),
    Marks(
        "InternLM, openPangu",
        "internlm/internlm-chat-7b; llama.cpp",
        r"\[(?i:UNUSED(_TOKEN_)?)\d{1,5}\]",
        ("[UNUSED_TOKEN_146]", "[unused9]"),
    ),
    Marks(
        "Nemotron, Baichuan 2, Gemma",
        "nvidia/NVIDIA-Nemotron-Nano-9B-v2, baichuan-inc/Baichuan2-7B-Chat",
        r"<(?i:extra_id|reserved|unused|special)_?\d{1,5}>",
        ("<extra_id_1>", "<SPECIAL_10>", "<reserved_106>", "<unused0>"),
    ),
    Marks(
        "models with ChatML's marks misspelt",
        "Ollama: qwen3coder.go, where it stands for the real one",
        r"<(?i:im_(start|end))>",
        ("<im_start>", "<im_end>"),
    ),
)
ZERO_WIDTH_SPACE = "\u200b"
OPENING = ("<", r"\[", r"\]")


def compile_table() -> re.Pattern[str]:
    """Return a pattern of the first character of each mark.

    The first character stands before the alternatives, so that a long text is scanned quickly.
    """
    bodies: dict[str, list[str]] = {opening: [] for opening in OPENING}
    for marks in TABLE:
        for alternative in split_at_top_level(marks.pattern):
            opening = next(each for each in OPENING if alternative.startswith(each))
            bodies[opening].append(alternative.removeprefix(opening))
    parts = [f"{opening}(?={'|'.join(each)})" for opening, each in bodies.items()]
    return re.compile("|".join(parts))


def split_at_top_level(pattern: str) -> list[str]:
    """Return the alternatives of a pattern."""
    alternatives, depth = [""], 0
    for piece in re.findall(r"\\.|\[(?:\\.|[^\]\\])*\]|.", pattern):
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if piece == "|" and depth == 0:
            alternatives.append("")
        else:
            alternatives[-1] += piece
    return alternatives


MARKS = compile_table()


def neutralize_markup(text: str) -> str:
    """Return `text` with every template mark broken by an invisible character.

    Marks in full-width and other compatible characters are broken too: some tokenizers apply NFKC,
    which turns them into the real ones.
    """
    text = MARKS.sub(lambda mark: mark[0] + ZERO_WIDTH_SPACE, text)
    if text.isascii() or not MARKS.search(text.translate(compatible_characters())):
        return text
    plain, origins = "", list[int]()
    for index, character in enumerate(text):
        normal = unicodedata.normalize("NFKC", character)
        plain += normal
        origins += [index] * len(normal)
    found = {origins[mark.start()] for mark in MARKS.finditer(plain)}
    return "".join(
        character + ZERO_WIDTH_SPACE if index in found else character
        for index, character in enumerate(text)
    )


@cache
def compatible_characters() -> dict[int, str]:
    """Return the characters beyond ASCII that NFKC turns into ASCII, with what they turn into."""
    normal = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0x80, 0x20000)}
    return {code: text for code, text in normal.items() if text.isascii()}
