"""`/explore`: pivots over the newest rows with Perspective, from its own wheel, on its own page.

Perspective wants a looser policy than the rest of the pages, so it gets one of its own, and only
here. Its server part is not used: rows go to the browser as Arrow, through our own door. Where the
extra is not installed the page says how to install it.
"""

import importlib.util
from pathlib import Path

import pyarrow as pa
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from core.errors import Unavailable
from webui.api import Api, whole
from webui.newest import SAMPLE_COLUMNS
from webui.pages import FAVOURITE, Pages
from webui.picture import Gatherer
from webui.sheets import status_sheet

ROWS_DEFAULT, ROWS_MAX = 20_000, 200_000
INSTALL = 'pip install ".[explore]"'
ARROW = "application/vnd.apache.arrow.stream"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data: blob:; "
        "connect-src 'self' data: blob:; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
}
FILES = {
    "perspective.js": ("perspective-anywidget.js", "text/javascript"),
    "perspective.css": ("perspective-anywidget.css", "text/css"),
}


class Explore:
    """The handlers."""

    def __init__(self, pages: Pages, api: Api, now: Gatherer) -> None:
        self._pages = pages
        self._api = api
        self._now = now

    def page(self, request: Request) -> Response:
        """The page, with or without the explorer."""
        sheet = status_sheet(self._now)
        boot = self._pages.boot("explore", ["status"])
        answer = self._pages.render(
            "explore.html",
            request,
            sheet,
            boot,
            is_installed=static_folder() is not None,
            install=INSTALL,
            favourite=FAVOURITE,
        )
        answer.headers.update(HEADERS)
        return answer

    def file(self, request: Request) -> Response:
        """A file of the wheel."""
        folder, named = static_folder(), FILES.get(request.path_params["name"])
        if named is None:
            raise HTTPException(404)
        if folder is None:
            raise Unavailable("the explorer is not installed", hint=f"run: {INSTALL}")
        headers = {"cache-control": "private, max-age=86400", **HEADERS}
        return FileResponse(folder / named[0], media_type=named[1], headers=headers)

    def rows(self, request: Request) -> Response:
        """The newest trades of a symbol as an Arrow stream, plain text and milliseconds."""
        count = whole(request, "n", ROWS_DEFAULT, 1, ROWS_MAX)
        return Response(as_stream(self._api.newest(request, count)), media_type=ARROW)


def static_folder() -> Path | None:
    """Where the wheel keeps its files; it is looked for without being loaded."""
    spec = importlib.util.find_spec("perspective")
    places = list(spec.submodule_search_locations or ()) if spec else []
    folder = Path(places[0]) / "widget" / "static" if places else None
    return folder if folder is not None and folder.is_dir() else None


def as_stream(table: pa.Table) -> bytes:
    """Rows in the types the browser's engine knows."""
    columns = {}
    for name in SAMPLE_COLUMNS:
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(pa.utf8())
        elif pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ms"), safe=False)
        elif pa.types.is_integer(column.type):
            column = column.cast(pa.float64() if name == "seq" else pa.int32(), safe=False)
        columns[name] = column
    found = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, found.schema) as writer:
        writer.write_table(found)
    return bytes(sink.getvalue())
