"""Papers in step with the code they speak of, and speaking of nothing else."""

import argparse
import importlib
import re
from pathlib import Path

import pytest

from core.errors import AccessError, PipelineError, QueryError
from core.settings import SETTINGS
from flight_server import tickets
from storage.bus_keys import KEYS
from tests.tidy import tables_page
from tests.tidy.tree import ROOT, files, papers, program, text
from tickflight import build_parser

README = Path("README.md")
COMMANDS = Path("docs/commands.md")
ERRORS = Path("docs/errors.md")
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
# What belongs to somebody's desk and not to the product. Split so that they do not name themselves.
STRANGERS = re.compile(
    "|".join(
        (
            r"(?<![\w.])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me|Us" + r"ers|op" + r"t)/",
            r"\bpy" + r"pi\.org|pythonho" + r"sted|--(?:extra-)?index-u" + r"rl\b",
            r"(?i:\bissue[ s]*#?\d|\b(?:fix(?:es)?|closes?|see|pr)\s+#\d)",
            r"(?i:\bsess" + r"ion[_-][0-9a-z]{6,})",
            r"(?i:\bclau" + r"de\b|\banthro" + r"pic\b|\bchat" + r"gpt\b)",
        )
    )
)


def classes(base):
    """An error class and all below it, wherever in the program they are defined."""
    for path in program():
        if re.search(r"^    code = \"", text(path), re.MULTILINE):
            importlib.import_module(".".join(path.with_suffix("").parts))
    return family(base)


def family(base):
    return {base} | {found for child in base.__subclasses__() for found in family(child)}


def commands(parser, name="tickflight"):
    """Every command with its parser, sub-commands included."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, child in action.choices.items():
                if not word.startswith("_"):  # processes that `up` starts
                    yield from commands(child, f"{name} {word}")


def rows(path, heading):
    """The cells of the first table under a heading."""
    section = text(path).split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_example_settings_are_the_settings_in_their_order():
    lines = text(Path(".env.example")).split("\n\n", 1)[1].strip().split("\n\n")
    assert lines == [f"# {s.help}\n{s.name}={s.default}" for s in SETTINGS]


def test_the_readme_lists_every_setting_with_default_and_meaning():
    expected = [[f"`{s.name}`", f"`{s.default}`" if s.default else "", s.help] for s in SETTINGS]
    assert rows(README, "## Settings") == expected


def test_the_readme_lists_every_code_a_client_can_meet():
    codes = {found.code for base in (QueryError, AccessError) for found in classes(base)}
    documented = [row[0].strip("`") for row in rows(README, "### Errors")]
    assert sorted(documented) == sorted(codes | {"internal"})


def test_the_errors_page_lists_every_code_there_is():
    codes = {found.code for found in classes(PipelineError)}
    documented = re.findall(r"^\| `([a-z_]+)` \|", text(ERRORS), re.MULTILINE)
    assert sorted(documented) == sorted(codes)


def test_the_readme_shows_every_ticket():
    table = " ".join(row[0] for row in rows(README, "### Tickets"))
    for verb in tickets._PARSERS:
        assert f"`{verb}:" in table, f"{verb}: is not shown"
    assert "`SELECT" in table
    assert '`{"' in table


def test_every_command_and_option_is_on_the_commands_page():
    page = text(COMMANDS)
    for name, parser in commands(build_parser()):
        assert f"`{name}" in page, f"{name} is not described"
        section = page.split(f"`{name}", 1)[1].split("\n## ", 1)[0]
        for action in parser._actions:
            if action.help == argparse.SUPPRESS or action.dest == "help":
                continue
            for option in action.option_strings:
                assert option in section, f"{name}: {option} is not described"


def test_the_help_of_every_command_shows_an_example():
    for name, parser in commands(build_parser()):
        assert "tickflight " in (parser.epilog or ""), f"{name} --help has no example"


def test_papers_name_no_command_that_is_not_there():
    known = {name for name, _ in commands(build_parser())}
    for path in papers():
        for word in re.findall(r"`tickflight ([a-z]+)", text(path)):
            assert f"tickflight {word}" in known, f"{path}: tickflight {word}"


def test_the_tables_page_is_what_the_schema_says():
    assert text(Path("docs/tables.md")) == tables_page.render()


def test_the_redis_page_lists_the_keys_that_describe_tells():
    documented = [row[0].strip("`") for row in rows(Path("docs/redis.md"), "## Keys")]
    assert documented == list(KEYS)


def test_make_targets_named_in_papers_exist():
    targets = set(re.findall(r"^([a-z]+):", text(Path("Makefile")), re.MULTILINE))
    for path in papers():
        named = set(re.findall(r"`make ([a-z]+)", text(path)))
        assert named <= targets, f"{path}: {named - targets}"


@pytest.mark.parametrize("path", papers(), ids=str)
def test_a_paper_has_one_title_and_whole_links(path):
    prose = re.sub(r"^```.*?^```", "", text(path), flags=re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"^# ", prose, re.MULTILINE)) == 1
    assert prose.lstrip().startswith("# ")
    for target, _ in LINK.findall(prose):
        if "://" not in target:
            assert (ROOT / path.parent / target).exists(), f"{target} is not there"


@pytest.mark.parametrize("path", files(), ids=str)
def test_a_file_speaks_of_the_product_alone(path):
    try:
        words = (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return  # data
    found = STRANGERS.search(words)
    assert found is None, f"{found and found[0]!r}"


def test_requirements_are_pinned_and_hashed_and_name_no_place():
    entries = re.split(
        r"\n(?=\S)", re.sub(r"^#.*\n", "", text(Path("requirements.txt")), flags=re.M)
    )
    assert len(entries) > 50
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==[^\s;]+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]
        assert "://" not in entry, entry[:80]
        assert " @ " not in entry, entry[:80]
