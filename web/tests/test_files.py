"""What the page is made of, and how it is served."""

import json
import re
import shutil
from pathlib import Path

import httpx
import pytest

from testing import javascript
from testing.processes import ROOT, Server, StartServer

STATIC = ROOT / "web" / "static" / "web"
PACKAGES = {  # where npm has the file, and its licence
    "marked.esm.js": ("marked", "lib/marked.esm.js"),
    "purify.es.mjs": ("dompurify", "dist/purify.es.mjs"),
}
TYPES = (
    "--allowJs",
    "--checkJs",
    "--noUncheckedIndexedAccess",
    "--skipLibCheck",
    "--noUnusedLocals",
)
LIBRARY = ("--lib", "es2023,dom,dom.iterable,dom.asynciterable")


def modules() -> list[Path]:
    return sorted(STATIC.glob("*.js"))


@pytest.mark.parametrize("name", PACKAGES)
def test_a_library_is_what_the_lock_file_names(npm: None, name: str) -> None:
    package, path = PACKAGES[name]
    installed = javascript.NODE_MODULES / package
    lock = json.loads((javascript.HERE / "package-lock.json").read_text())
    locked = lock["packages"][f"node_modules/{package}"]
    notes = (ROOT / "docs" / "dependencies.md").read_text()

    assert (STATIC / "vendor" / name).read_bytes() == (installed / path).read_bytes()
    licence = (STATIC / "vendor" / f"{name.partition('.')[0]}.LICENSE").read_bytes()
    assert licence == (installed / "LICENSE").read_bytes()
    assert json.loads((installed / "package.json").read_text())["version"] == locked["version"]
    assert f"**{package}** {locked['version']} ({locked['license'].strip('()')})" in notes


def test_there_are_no_other_libraries() -> None:
    files = {path.name for path in (STATIC / "vendor").iterdir()}

    assert files == {*PACKAGES, *(f"{name.partition('.')[0]}.LICENSE" for name in PACKAGES)}


def test_the_page_is_small_enough_to_be_read() -> None:
    lines = [line for path in modules() for line in path.read_text().splitlines()]

    assert len([line for line in lines if line.strip()]) <= 1500
    for path in modules():
        assert path.read_text().startswith("/** "), f"{path.name} does not say what it is for"
        assert len(path.read_text().splitlines()) <= 330, path.name


def test_its_modules_are_typed(npm: None, tmp_path: Path) -> None:
    web, client = tmp_path / "web", tmp_path / "client"
    shutil.copytree(STATIC, web, ignore=shutil.ignore_patterns("*.LICENSE"))
    shutil.copytree(ROOT / "clients" / "javascript", client)
    declarations = javascript.NODE_MODULES / "marked/lib/marked.d.ts"
    shutil.copy(declarations, web / "vendor" / "marked.esm.d.ts")
    purify = (javascript.NODE_MODULES / "dompurify/dist/purify.es.d.mts").read_text()
    (web / "vendor" / "purify.es.d.mts").write_text(purify)

    javascript.run("tsc", *javascript.STRICT, *TYPES, *LIBRARY, *web.glob("*.js"))


def test_it_loads_nothing_from_elsewhere() -> None:
    texts = {path.name: path.read_text() for path in (*modules(), STATIC / "style.css")}
    texts["index.html"] = (ROOT / "web" / "index.html").read_text()

    for name, text in texts.items():
        assert not re.findall(
            r"https?://(?!www\.w3\.org)\S+|@import|innerHTML|\beval\(|new Function|style=", text
        ), name
    for path in re.findall(r'(?:href|src)="(static/[^"]+)"', texts["index.html"]):
        assert (
            ROOT
            / path.replace("static/web/", "web/static/web/").replace(
                "static/client/", "clients/javascript/"
            )
        ).is_file()


def test_the_first_view_is_under_100_kilobytes(page_server: Server) -> None:
    client = httpx.Client(base_url=page_server.url, headers={"Accept-Encoding": "gzip"})
    page = client.get("/")
    later = re.findall(r'await import\("\./([^"]+)"\)', "".join(p.read_text() for p in modules()))
    loaded = {f"static/web/{path.name}" for path in modules() if path.name not in later}
    loaded |= set(re.findall(r'(?:href|src)="(static/[^"]+)"', page.text))
    size = len(page.content)
    for path in loaded:
        with client.stream("GET", f"/{path}") as answer:
            assert answer.status_code == 200, path
            size += len(b"".join(answer.iter_raw()))

    assert size < 90_000  # the rest is for the user's threads


def test_the_page_comes_with_a_strict_policy(page_server: Server) -> None:
    page = httpx.get(page_server.url)

    assert page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert httpx.head(page_server.url).status_code == 200


def test_static_files_are_compressed_for_those_who_take_it(page_server: Server) -> None:
    url = f"{page_server.url}/static/client/client.js"
    plain = httpx.get(url, headers={"Accept-Encoding": "gzip;q=0"})
    packed = httpx.get(url, headers={"Accept-Encoding": "br, gzip"})
    again = httpx.get(url, headers={"If-None-Match": packed.headers["ETag"]})

    assert plain.content == packed.content == (ROOT / "clients/javascript/client.js").read_bytes()
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert again.status_code == 304


def test_a_server_without_the_page_has_none_of_it(start_server: StartServer) -> None:
    server = start_server(CHAT_PAGE="false")

    for path in ("/", "/static/web/app.js", "/static/client/client.js"):
        answer = httpx.get(server.url + path)
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"
    assert httpx.get(f"{server.url}/static/admin/css/base.css").status_code == 200
