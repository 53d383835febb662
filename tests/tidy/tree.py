"""The files of the repository, as git sees them: tracked, or new and not ignored."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("bench", "core", "flight_server", "ingest", "storage", "webui")


@cache
def files() -> tuple[Path, ...]:
    """Paths relative to the root, sorted; files deleted but not yet committed are left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(sorted(Path(name) for name in listed.split("\0") if (ROOT / name).is_file()))


def sources() -> list[Path]:
    """Python files of the program, its tests and its examples."""
    return [path for path in files() if path.suffix == ".py"]


def program() -> list[Path]:
    """Python files of the program alone."""
    return [path for path in sources() if path.parts[0] in (*PACKAGES, "tickflight.py")]


def papers() -> list[Path]:
    """Markdown files."""
    return [path for path in files() if path.suffix == ".md"]


@cache
def text(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(text(path))
