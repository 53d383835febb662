"""The look of the pages, as far as it can be computed: contrast, budgets, bundles."""

import re
from pathlib import Path

import pytest

from webui.assets import BUNDLES, HERE, join, load_assets

TOKENS = dict(re.findall(r"--([\w-]+): (#[0-9A-F]{6})", (HERE / "tokens.css").read_text()))
SURFACES = ("bg-0", "bg-1", "bg-2", "bg-3")
TEXTS = ("fg-0", "fg-1", "fg-2", "accent", "up", "down", "ok", "warn", "crit", "zero", "pos", "neg")
HTML_BYTES_MAX = 40_000
BUDGET_BYTES = {"app.css": 20_000, "overview.js": 60_000}


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("text", TEXTS)
def test_every_text_colour_can_be_read_on_every_surface(text, surface):
    assert contrast(TOKENS[text], TOKENS[surface]) >= 4.5


@pytest.mark.parametrize("surface", SURFACES)
def test_borders_of_controls_can_be_seen(surface):
    assert contrast(TOKENS["line-2"], TOKENS[surface]) >= 3


@pytest.mark.parametrize(("name", "most"), BUDGET_BYTES.items())
def test_the_first_screen_stays_small(name, most):
    assert len(load_assets().files[name].body) < most


def test_a_bundle_has_no_import_left_and_no_name_twice():
    for name, (parts, _) in BUNDLES.items():
        if not name.endswith(".js"):
            continue
        whole = join(*((HERE / part).read_text() for part in parts))
        left = re.findall(r"^(?:import|export)\b.*", whole, re.MULTILINE)
        assert all("/explore/files/" in line for line in left), (name, left)
        names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", whole, re.MULTILINE)
        assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)


def test_every_module_is_in_a_bundle_and_imports_only_what_stands_before_it():
    for name, (parts, _) in BUNDLES.items():
        for place, part in enumerate(parts):
            wanted = re.findall(r'from "\./([\w.]+)"', (HERE / part).read_text())
            late = [w for w in wanted if w not in parts[:place]]
            # Functions may be called from above: only what runs at once has to stand before.
            assert set(late) <= set(parts), (name, part, late)
    used = {part for parts, _ in BUNDLES.values() for part in parts}
    assert used == {path.name for path in HERE.iterdir()}


def test_the_build_changes_with_any_source(tmp_path):
    for path in HERE.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = load_assets(tmp_path).build
    assert before == load_assets().build
    with (tmp_path / "words.js").open("a") as file:
        file.write("const more = 1;\n")
    assert load_assets(tmp_path).build != before


def test_scripts_write_text_and_never_markup():
    for path in HERE.glob("*.js"):
        source = path.read_text()
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in source, (path.name, word)


def test_nothing_is_fetched_from_elsewhere():
    for path in [*HERE.iterdir(), *(Path(HERE).parent / "views").iterdir()]:
        links = re.findall(r"https?://[^\s\"'`$%]+", path.read_text())
        assert set(links) <= {"http://www.w3.org/2000/svg"}, (path.name, links)


def test_the_first_page_stays_small_when_there_is_much_to_tell(site):
    prices = iter(range(24_900, 30_000))
    for minute in range(200, 0, -1):
        for symbol in ("MES", "MNQ", "NQ", "SPY", "QQQ", "VIX"):
            site.trade(symbol, next(prices) + 0.25, size=1_234, age_s=60 * minute)
    for number in range(20):
        site.house.journal.note("sealer", "degraded", f"seal {number} failed: {'why ' * 10}")
    site.boards["ingest"].state("sealer", "degraded", "trying again")
    site.publish()
    site.look()
    assert len(site.ask("/").content) < HTML_BYTES_MAX
