"""Rules of the source that no linter checks for us."""

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.tidy.tree import PACKAGES, program, sources, text, tree

LINES_MAX = 400
FUNCTION_LINES_MAX = 70
LINE_CHARS_MAX = 100

# Each outside library is known to one room only, so that it can be replaced there.
DOORS = {
    "crc32c": ["storage/*"],
    "deltalake": ["storage/*"],
    "dotenv": ["core/settings.py"],
    "duckdb": ["storage/query*.py"],
    "httpx": ["ingest/*"],
    "jinja2": ["webui/*"],
    "obstore": ["storage/bucket.py"],
    "pyarrow.flight": ["flight_server/*", "bench/*", "tickflight.py"],
    "redis": ["storage/bus*.py"],
    "rich": ["tickflight.py", "bench/*", "*/commands.py", "*/doctor.py"],
    "starlette": ["webui/*"],
    "tastytrade": ["ingest/tastytrade*.py"],
    "uvicorn": ["webui/main.py", "webui/requests.py", "webui/wire.py"],
    "websockets": ["ingest/*", "webui/wire.py", "bench/feed_server.py"],
}


def each(paths):
    return pytest.mark.parametrize("path", paths, ids=str)


def imports(path: Path) -> set[str]:
    """Every module a file imports, and `package.name` for names taken from packages."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import in full"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@each(sources())
def test_files_functions_and_lines_fit_a_reader(path):
    lines = text(path).splitlines()
    assert len(lines) <= LINES_MAX, f"{len(lines)} lines; one noun per file"
    for number, line in enumerate(lines, 1):
        assert len(line) <= LINE_CHARS_MAX, f"line {number} has {len(line)} characters"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"


@each(program())
def test_every_module_opens_with_what_it_is_for(path):
    assert ast.get_docstring(tree(path))


@each([path for path in program() if path.name == "__init__.py"])
def test_a_package_is_only_a_docstring(path):
    (statement,) = tree(path).body
    assert isinstance(statement, ast.Expr)


def test_every_package_has_its_docstring():
    found = {path.parts[0] for path in program() if path.name == "__init__.py"}
    assert found == set(PACKAGES)


@each(program())
def test_libraries_are_used_through_their_own_door(path):
    for library, doors in DOORS.items():
        uses = [name for name in imports(path) if f"{name}.".startswith(f"{library}.")]
        if uses:
            assert any(fnmatch(str(path), door) for door in doors), f"{uses} belongs in {doors}"


@each(program())
def test_tasks_have_an_owner(path):
    assert "create_task(" not in text(path), "open a task group"


@each(program())
def test_only_the_command_line_prints(path):
    if path.parts[0] in ("tickflight.py", "bench"):
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}: log it"


@each(program())
def test_nothing_catches_everything_in_silence(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: name what you catch"


@each(sources())
def test_what_is_left_to_do_has_a_number(path):
    marks = re.findall(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b(?!\(\d+\))", text(path))
    assert not marks, marks


@each([path for path in sources() if path.parts[0] == "tests"])
def test_nothing_of_ours_is_mocked(path):
    assert not {name for name in imports(path) if name.startswith("unittest")}


@each([path for path in sources() if path.name.startswith("test_")])
def test_tests_are_named_by_sentences(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            assert node.name.count("_") >= 3, f"{node.name}: say what should hold"
