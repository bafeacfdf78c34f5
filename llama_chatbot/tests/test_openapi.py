"""The OpenAPI document, from which front ends make their clients: it changes on purpose only.

The clients are made by the tools that people use, compiled as strictly as they can be, and call.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from testing import javascript
from testing.people import Caller, token_of

DOCS = javascript.ROOT / "docs" / "api.md"
SNAPSHOT = Path(__file__).with_name("openapi.json")
NO_TYPE = re.compile(r"\b(any|unknown)\b")


@pytest.fixture
def document(nobody: Caller) -> dict[str, Any]:
    """The document, as anybody gets it."""
    document: dict[str, Any] = nobody.get("/openapi.json").json()
    return document


@pytest.fixture
def file(document: dict[str, Any], tmp_path: Path) -> Path:
    """The document in a file."""
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document))
    return file


def calls_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [call for methods in document["paths"].values() for call in methods.values()]


def test_the_document_is_the_one_in_the_snapshot(document: dict[str, Any]) -> None:
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
        pytest.fail(f"{SNAPSHOT.name} was written anew: look at it before it is committed")
    assert document == json.loads(SNAPSHOT.read_text()), (
        "the API has changed; if it should, delete openapi.json and run this test twice"
    )


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)


def test_ids_are_unique_and_short(document: dict[str, Any]) -> None:
    ids = [call["operationId"] for call in calls_of(document)]

    assert len(ids) == len(set(ids))
    assert max(map(len, ids)) <= 30
    assert not [name for name in ids if re.search("views|chat_|accounts_", name)]


def test_every_call_says_how_it_fails_and_who_may_make_it(document: dict[str, Any]) -> None:
    for call in calls_of(document):
        assert {"400", "500", "503"} <= call["responses"].keys(), call["operationId"]
        if call["security"] and {} not in call["security"]:
            assert "401" in call["responses"], call["operationId"]


def test_the_headers_of_an_answer_are_those_of_the_document(
    document: dict[str, Any], ann: Caller, nobody: Caller
) -> None:
    said = document["paths"]["/chat/threads/{thread_id}/update-title/"]["put"]["responses"]
    thread = ann.thread()
    path = "/chat/threads/{}/update-title/"

    for answer in (
        ann.put(path.format(thread.pk), json={"title": "Llamas"}),
        ann.put(path.format(thread.pk), json={"title": " "}),
        ann.put(path.format(thread.pk), content=b"Llamas"),
        ann.put(path.format(999), json={"title": "Llamas"}),
        nobody.put(path.format(thread.pk), json={"title": "Llamas"}),
    ):
        sent = {name for name in answer.headers if name.startswith("ratelimit-")}
        documented = said[str(answer.status_code)].get("headers", {})
        assert sent == {name.lower() for name in documented}, answer.text


@pytest.mark.parametrize(
    ("body", "is_valid"),
    [
        ({}, True),
        ({"title": "Llamas"}, True),
        ({"title": " \n"}, False),
        ({"title": "a\0"}, False),
        ({"title": "a" * 201}, False),
        ({"system_prompt": " "}, True),
        ({"system_prompt": "a\0"}, False),
        ({"options": {"seed": 1.0}}, True),
        ({"options": {"seed": 1.5}}, False),
        ({"options": {"seed": True}}, False),
        ({"options": {"seed": -1}}, False),
        ({"options": {"temperature": 2.1}}, False),
        ({"options": {"heat": 1}}, False),
        ({"colour": "red"}, False),
    ],
)
def test_the_documents_limits_are_those_of_the_server(
    document: dict[str, Any], ann: Caller, body: dict[str, Any], is_valid: bool
) -> None:
    schema = {"$ref": "#/components/schemas/ThreadSettings", "components": document["components"]}

    assert Draft202012Validator(schema).is_valid(body) == is_valid
    assert ann.post("/chat/threads/new/", json=body).status_code == (201 if is_valid else 400)


def test_openapi_typescript_makes_a_client_that_compiles(
    npm: None, file: Path, tmp_path: Path
) -> None:
    javascript.run("openapi-typescript", file, "-o", tmp_path / "api.ts")

    javascript.run("tsc", *javascript.STRICT, tmp_path / "api.ts")

    contents = re.findall(r'"(?:application|text)/[^"]*": (.*)', (tmp_path / "api.ts").read_text())
    assert len(contents) > 300
    assert not [content for content in contents if NO_TYPE.search(content)]


def test_hey_api_makes_a_client_that_compiles_and_calls(
    npm: None, file: Path, tmp_path: Path, ann: Caller
) -> None:
    thread = ann.thread(title="Llamas")
    javascript.run("openapi-ts", "-i", file, "-o", tmp_path / "api", cwd=tmp_path)
    (tmp_path / "main.ts").write_text("""
        import { client } from "./api/client.gen";
        import { readThread } from "./api";
        declare const process: { env: Record<string, string> };
        client.setConfig({ baseUrl: process.env.URL, auth: process.env.TOKEN });
        const { data, error } = await readThread({ path: { thread_id: Number(process.env.ID) } });
        const title: string | undefined = data?.title;
        const code: string | undefined = error?.code;
        console.log(title, code);
    """)

    javascript.run("tsc", *javascript.STRICT, tmp_path / "main.ts")

    answers = re.findall(
        r"^export type \w+(?:Responses|Errors) = \{.*?^\};",
        (tmp_path / "api" / "types.gen.ts").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert len(answers) > 60
    assert not [answer for answer in answers if NO_TYPE.search(re.sub(r"/\*.*?\*/", "", answer))]
    javascript.esbuild(tmp_path / "main.ts", tmp_path / "main.mjs")
    url, token = str(ann.base_url).rstrip("/"), token_of(ann)
    for number, said in ((thread.pk, "Llamas undefined\n"), (999, "undefined not_found\n")):
        main = tmp_path / "main.mjs"
        assert javascript.run("node", main, URL=url, TOKEN=token, ID=str(number)) == said


def test_openapi_python_client_makes_one_that_mypy_passes_and_calls(
    file: Path, tmp_path: Path, ann: Caller
) -> None:
    thread = ann.thread(title="Llamas")
    program = str(Path(sys.executable).with_name("openapi-python-client"))
    config = javascript.snippets(DOCS)["openapi-python-client.yml"]
    (tmp_path / "config.yml").write_text(config)
    files = ("--path", file, "--output-path", tmp_path / "llama_api")
    options = (*files, "--config", tmp_path / "config.yml", "--fail-on-warning")
    made = subprocess.run(
        [program, "generate", "--meta=none", *options],
        env=javascript.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    (tmp_path / "main.py").write_text("""
import sys
from llama_api import AuthenticatedClient
from llama_api.api.chat import read_thread
from llama_api.models import NotFoundError, ThreadOut

url, token, number = sys.argv[1:]
answer = read_thread.sync(int(number), client=AuthenticatedClient(base_url=url, token=token))
if isinstance(answer, ThreadOut):
    print(answer.title)
elif isinstance(answer, NotFoundError):
    print(answer.code.value)
""")

    # Of the package's own client.py, which is the same for every document, nothing is said: mypy
    # does not like how it passes on the arguments of `__exit__`.
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent")
    checked = subprocess.run(
        [*mypy, "main.py", "llama_api/api", "llama_api/models"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout
    for number, said in ((thread.pk, "Llamas\n"), (999, "not_found\n")):
        command = [sys.executable, "main.py", str(ann.base_url), token_of(ann), str(number)]
        called = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert called.stdout == said


def test_the_page_about_the_api_can_be_read_by_anybody(nobody: Caller) -> None:
    answer = nobody.get("/docs/")

    assert answer.status_code == 200
    assert "openapi.json" in answer.text
