"""Static files, held in memory under names that change with their content.

The sources in `static/` are plain ES modules and style sheets; a page asks for one of each, so the
modules are joined in the order in which they need each other, with their imports taken out.
Nothing is minified: what the browser shows is what is in the repository, without its comments.
"""

import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent / "static"
STYLES = ("tokens.css", "app.css")
COMMON = (
    "words.js", "table.js", "cells.js", "paint.js", "stream.js", "chart_view.js", "chart.js",
    "ladder.js", "shell.js", "palette.js", "overview.js", "shape.js", "app.js", "year.js",
    "data.js",
)  # fmt: skip
MARKET = ("heat.js", "columns.js", "tape.js", "market.js")
STYLE = "text/css; charset=utf-8"
SCRIPT = "text/javascript; charset=utf-8"
BUNDLES = {
    "app.css": (STYLES, STYLE),
    "drill.css": (("drill.css",), STYLE),
    "overview.js": ((*COMMON, "entry_overview.js"), SCRIPT),
    "drill.js": (
        (*COMMON, *MARKET, "data_page.js", "keys.js", "queries.js", "entry_drill.js"),
        SCRIPT,
    ),
    "login.js": (("login.js",), SCRIPT),
    "explore.js": (("explore.js",), SCRIPT),
}

_IMPORT = re.compile(r"^import\b[^;]*\"\./[^;]*;\n", re.MULTILINE)  # of ours alone
# Of lines that are nothing else.
_COMMENT = re.compile(r"^[ \t]*(?:/\*(?:(?!\*/).)*\*/|//[^\n]*)\n", re.MULTILINE | re.DOTALL)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|let|class)\b)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it goes out."""

    body: bytes = b""
    gzipped: bytes = b""
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Assets:
    """All files of one build; `build` is a digest of them, so a browser can tell it is outdated."""

    build: str
    files: dict[str, Asset]

    def url(self, name: str) -> str:
        """Where a file is found."""
        assert name in self.files, name
        return f"/static/{self.build}/{name}"


def load_assets(folder: Path = HERE) -> Assets:
    """Read and join every source."""
    files = {}
    for name, (parts, media_type) in BUNDLES.items():
        body = join(*((folder / part).read_text() for part in parts)).encode()
        files[name] = Asset(body, gzip.compress(body, 9, mtime=0), media_type)
    digest = hashlib.sha256(b"".join(asset.body for asset in files.values()))
    return Assets(digest.hexdigest()[:12], files)


def join(*sources: str) -> str:
    """Modules as one: comments and imports go, exports become plain declarations."""
    bare = (_COMMENT.sub("", source) for source in sources)
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", source)).strip() for source in bare) + "\n"
