"""The project's own source files, as the tests of the docs compare with them."""

from collections.abc import Iterator

from testing.processes import ROOT


def python_files() -> Iterator[str]:
    """Yield the path of every Python file of the project, relative to its root."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        if not parts[0].startswith(".") and "node_modules" not in parts:
            yield "/".join(parts)
