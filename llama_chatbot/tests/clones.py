"""Small copies of the repository, which hold the launcher and nothing else."""

import importlib.util
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from testing.processes import INHERITED, ROOT

NO_NETWORK = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a command: without a network for pip, and with `env`."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, **NO_NETWORK, **env}


def make_clone(directory: Path) -> Path:
    """Make a clone, with requirements that nobody can meet."""
    clone = directory / f"clone {len(list(directory.iterdir()))}"
    shutil.copytree(ROOT / "llama_chatbot" / "launch", clone / "llama_chatbot" / "launch")
    shutil.copy(ROOT / "Makefile", clone)
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-model.txt"):
        (clone / name).write_text("not-to-be-had==1.0\n")
    shutil.rmtree(clone / "llama_chatbot" / "launch" / "__pycache__", ignore_errors=True)
    return clone


def load_bootstrap(clone: Path) -> ModuleType:
    """Return a clone's own bootstrap module."""
    path = clone / "llama_chatbot" / "launch" / "bootstrap.py"
    spec = importlib.util.spec_from_file_location("bootstrap_of_a_clone", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
