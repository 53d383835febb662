"""Settings: one list of names, defaults and meanings; read once, frozen, all faults told together.

Order of authority: command line, then the environment, then the `.env` file, then the default.
"""

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from core.errors import SettingsError
from core.symbol import SYMBOL_FORM, is_symbol

SECRETS = frozenset(
    {
        "TASTYTRADE_CLIENT_SECRET",
        "TASTYTRADE_REFRESH_TOKEN",
        "GEXBOT_API_KEY",
        "WEBHOOK_TOKEN",
        "REDIS_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    }
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of `.env`: name, default as text, how to read it, and what it is for."""

    name: str
    default: str
    parse: Callable[[str], object]
    help: str


def _text(value: str) -> str:
    return value


def _words(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


def _symbols(value: str) -> tuple[str, ...]:
    symbols = tuple(word.upper() for word in _words(value))
    odd = [symbol for symbol in symbols if not is_symbol(symbol)]
    if odd or (value and not symbols):
        found = odd[0] if odd else value
        raise ValueError(f"expected names separated by commas, each {SYMBOL_FORM}, found {found!r}")
    return symbols


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected https://HOST or http://HOST")
    return value


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", value):
            raise ValueError(f"expected a whole number from {low} to {high}, found {value!r}")
        number = int(value)
        if not low <= number <= high:
            raise ValueError(f"expected {low} to {high}, found {number}")
        return number

    return parse


def _size_bytes(value: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(I?)B?", value.strip().upper())
    if found is None:
        raise ValueError(f"expected a size like 4GB or 512MiB, found {value!r}")
    power = " KMG".index(found[2]) if found[2] else 0
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def _memory_bytes(value: str) -> int:
    size_bytes = _size_bytes(value)
    if size_bytes < MEMORY_BYTES_MIN:
        raise ValueError(f"expected at least {MEMORY_BYTES_MIN // 10**6}MB, found {value!r}")
    return size_bytes


def _lake_url(value: str) -> str:
    if "://" not in value:
        return value
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]*(/[A-Za-z0-9_=.-]*[A-Za-z0-9_=-])*/?", value):
        raise ValueError(
            "expected a folder or s3://BUCKET/PREFIX of letters, digits and . _ - = only"
        )
    return value.rstrip("/")


def _web_address_or_none(value: str) -> str:
    return _web_address(value) if value else value


def redis_url(value: str) -> str:
    """An address of Redis as text; raise ValueError, without the password, where it is none."""
    if value and urlsplit(value).scheme not in REDIS_SCHEMES:
        raise ValueError("expected redis://HOST:PORT, rediss://HOST:PORT (TLS) or unix://PATH")
    return value


SETTINGS: tuple[Setting, ...] = (
    Setting("TASTYTRADE_CLIENT_SECRET", "", _text, "OAuth client secret of your tastytrade app"),
    Setting("TASTYTRADE_REFRESH_TOKEN", "", _text, "OAuth refresh token of your tastytrade login"),
    Setting(
        "TASTYTRADE_SYMBOLS", "MES,MNQ,NQ,SPY,QQQ,VIX", _symbols, "roots and tickers to record"
    ),
    Setting(
        "TASTYTRADE_API_URL", "https://api.tastyworks.com", _web_address, "tastytrade API address"
    ),
    Setting("GEXBOT_API_KEY", "", _text, "GEXBot key; empty turns polling off"),
    Setting("GEXBOT_BASE_URL", "https://api.gex.bot/v2", _web_address, "GEXBot API address"),
    Setting("GEXBOT_TICKERS", "NQ_NDX,ES_SPX,SPY", _symbols, "GEXBot tickers to poll"),
    Setting("SIERRA_DIR", "/mnt/c/SierraChart", Path, "Sierra Chart's folder; off where absent"),
    Setting("SIERRA_SYMBOLS", "", _symbols, "roots to read from Sierra files; empty means all"),
    Setting("WEBHOOK_TOKEN", "", _text, "shared secret of the webhooks; empty: loopback only"),
    Setting(
        "WEBHOOK_ORIGINS",
        "https://unusualwhales.com,https://www.gexbot.com,https://gexbot.com,"
        "https://app.gexbot.com",
        _words,
        "sites whose pages may post to the webhooks",
    ),
    Setting(
        "GEX_HISTORY_HOSTS",
        "hist.gex.bot,hist.gexbot.com,nfagexbotresearch.blob.core.windows.net",
        _words,
        "hosts a history file may be fetched from",
    ),
    Setting("REDIS_URL", "", redis_url, "share the hot hour on this Redis; empty turns it off"),
    Setting("DATA_DIR", "data", Path, "where the tape is kept (a local disk, not /mnt/c)"),
    Setting(
        "LAKE_URL",
        "",
        _lake_url,
        "where sealed Parquet goes: a folder or s3://BUCKET/PREFIX; empty: DATA_DIR/lake",
    ),
    Setting("LAKE_CACHE", "20GB", _size_bytes, "most of a bucket's files kept on this machine"),
    Setting("AWS_ACCESS_KEY_ID", "", _text, "key of the bucket; empty: the machine's own role"),
    Setting("AWS_SECRET_ACCESS_KEY", "", _text, "secret of that key"),
    Setting("AWS_SESSION_TOKEN", "", _text, "session token of that key, where it is a passing one"),
    Setting("AWS_REGION", "us-east-1", _text, "region of the bucket"),
    Setting(
        "AWS_ENDPOINT_URL",
        "",
        _web_address_or_none,
        "address of an S3-compatible store; empty: AWS",
    ),
    Setting("HOT_MINUTES", "60", _whole(1, 24 * 60), "minutes kept in memory after sealing"),
    Setting("RETENTION_DAYS", "365", _whole(1, 36_500), "days sealed data are kept"),
    Setting("MEMORY_LIMIT", "2GB", _memory_bytes, "memory one SQL worker may use"),
    Setting("COMMIT_MS", "20", _whole(1, 10_000), "longest wait before appended rows are durable"),
    Setting("SQL_SECONDS", "30", _whole(1, 3_600), "time limit of one SQL query"),
    Setting("RESULT_ROWS", "50000000", _whole(1, 10**12), "row limit of one answer"),
    Setting("RESULT_BYTES", "8GB", _size_bytes, "byte limit of one answer"),
    Setting("HOST", "127.0.0.1", _text, "address to listen on"),
    Setting("FLIGHT_PORT", "8815", _whole(0, 65_535), "Arrow Flight port; 0 picks a free one"),
    Setting("WEB_PORT", "8877", _whole(0, 65_535), "web port; 0 picks a free one"),
    Setting("TLS_CERT", "", _text, "certificate chain (PEM); needed to listen beyond loopback"),
    Setting("TLS_KEY", "", _text, "private key (PEM) of TLS_CERT"),
    Setting(
        "CLUSTER_URL",
        "",
        _text,
        "Spark Connect address for queries beyond one machine; no part uses it yet",
    ),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
MEMORY_BYTES_MIN = 200_000_000  # below that a worker has no room for its tables
REDIS_SCHEMES = ("redis", "rediss", "unix")
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
WILDCARD_HOSTS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared, not bound


def reachable(host: str, asked: str | None = None) -> str:
    """The host of an address a client can use: HOST, or where that is every one, the one `asked`.

    It stands in brackets where it has colons.
    """
    found = (asked or LOOPBACK_HOSTS[0]) if host in WILDCARD_HOSTS else host
    return f"[{found}]" if ":" in found else found


@dataclass(frozen=True)
class Settings:
    """All settings, parsed. `settings["HOST"]` gives a value; repr masks secrets."""

    values: Mapping[str, object] = field(repr=False)

    def text(self, name: str) -> str:
        """A setting that is text."""
        value = self.values[name]
        assert isinstance(value, str), name
        return value

    def number(self, name: str) -> int:
        """A setting that is a whole number (sizes are in bytes)."""
        value = self.values[name]
        assert isinstance(value, int), name
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """A setting that is a list of words."""
        value = self.values[name]
        assert isinstance(value, tuple), name
        return value

    @property
    def data_dir(self) -> Path:
        """The data folder, absolute."""
        value = self.values["DATA_DIR"]
        assert isinstance(value, Path)
        return value

    @property
    def sierra_dir(self) -> Path:
        """Sierra Chart's folder."""
        value = self.values["SIERRA_DIR"]
        assert isinstance(value, Path)
        return value

    @property
    def lake_url(self) -> str:
        """The lake: a folder path or an object-store address."""
        return self.text("LAKE_URL") or str(self.data_dir / "lake")

    def as_env(self) -> dict[str, str]:
        """The settings as environment variables, to hand to a child process."""
        texts = {name: _unparse(value) for name, value in self.values.items()}
        # The bucket's library reads these itself and takes an empty one for a value.
        return {name: text for name, text in texts.items() if text or not name.startswith("AWS_")}

    def __repr__(self) -> str:
        shown = {k: "***" if k in SECRETS and v else v for k, v in self.values.items()}
        return f"Settings({shown})"


def _unparse(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def load_settings(
    overrides: Mapping[str, str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> Settings:
    """Read the settings; raise SettingsError naming every bad or unknown one at once."""
    environ = os.environ if environ is None else environ
    env_path = Path(".env") if env_file is None else env_file
    in_file = {k: v or "" for k, v in dotenv_values(env_path).items()} if env_path.exists() else {}
    faults = _unreadable(env_path) if env_path.exists() else []
    faults += [
        f"{name}: unknown setting in {env_path}; {_nearest(name)}"
        for name in in_file
        if name not in BY_NAME
    ]
    given = {**in_file, **{k: v for k, v in environ.items() if k in BY_NAME}, **(overrides or {})}
    values: dict[str, object] = {}
    for setting in SETTINGS:
        raw = given.get(setting.name, "") or setting.default
        try:
            values[setting.name] = setting.parse(raw)
        except ValueError as error:
            is_secret = setting.name in SECRETS or ("://" in raw and "@" in raw)
            shown = "***" if is_secret else repr(raw)
            faults.append(f"{setting.name}={shown}: {error}; {setting.help}")
            values[setting.name] = setting.parse(setting.default)
    data_dir = values["DATA_DIR"]
    assert isinstance(data_dir, Path)
    values["DATA_DIR"] = data_dir.expanduser().absolute()
    faults += _contradictions(values)
    if faults:
        raise SettingsError("\n".join(faults), hint="see .env.example for every setting")
    return Settings(values)


def _contradictions(values: Mapping[str, object]) -> list[str]:
    faults = []
    if bool(values["TLS_CERT"]) != bool(values["TLS_KEY"]):
        faults.append("TLS_CERT and TLS_KEY: give both or neither")
    if values["HOST"] not in LOOPBACK_HOSTS and not values["TLS_CERT"]:
        faults.append(f"HOST={values['HOST']!r}: only loopback is served without TLS_CERT/TLS_KEY")
    if values["HOST"] not in LOOPBACK_HOSTS and not values["WEBHOOK_TOKEN"]:
        faults.append(f"HOST={values['HOST']!r}: only loopback is served without WEBHOOK_TOKEN")
    secret, token = values["TASTYTRADE_CLIENT_SECRET"], values["TASTYTRADE_REFRESH_TOKEN"]
    if bool(secret) != bool(token):
        faults.append("TASTYTRADE_CLIENT_SECRET and TASTYTRADE_REFRESH_TOKEN: give both or neither")
    if bool(values["AWS_ACCESS_KEY_ID"]) != bool(values["AWS_SECRET_ACCESS_KEY"]):
        faults.append("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: give both or neither")
    return faults


def _unreadable(path: Path) -> list[str]:
    """A fault for each line of the file that sets nothing."""
    with path.open(encoding="utf-8") as lines:
        return [
            f"{path} line {binding.original.line}: expected NAME=value"
            for binding in parse_stream(lines)
            if binding.error
        ]


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, BY_NAME, n=1)
    return f"did you mean {near[0]}?" if near else "see .env.example"
