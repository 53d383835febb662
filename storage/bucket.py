"""The door to `obstore`: the objects of one S3-compatible bucket below one prefix.

Every request has a time limit and every retry a number. What goes wrong leaves as LakeLost (worth
trying again) or LakeRefused (an operator must act), in words of ours: what the other side answers
is never passed on, since it tells more of a key than anybody needs.
"""

import mmap
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from core.errors import LakeError, LakeLost, LakeRefused, SealFailed
from core.settings import Settings

T = TypeVar("T")
CONNECT_S: Final = 3
REQUEST_S: Final = 30  # of one request; what is large travels in parts, a request each
RETRIES_MAX: Final = 2
RETRY_S_MAX: Final = 10
PART_BYTES: Final = 8 << 20
PARTS_AT_ONCE: Final = 4
REGION: Final = "us-east-1"  # what S3-compatible stores take where nobody names one
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3})|status: (\d{3})")
_MISPLACED = ("NoSuchBucket", "PermanentRedirect", "AuthorizationHeaderMalformed")
_UNKNOWN = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")


@dataclass(frozen=True, slots=True)
class BucketAccess:
    """Where a bucket is, as `s3://BUCKET/PREFIX`, and what opens it."""

    url: str
    options: Mapping[str, str] = field(repr=False)

    def delta_options(self) -> dict[str, str]:
        """The same for the Delta log's library, which calls limits by these names."""
        limits = {
            "timeout": f"{REQUEST_S}s",
            "connect_timeout": f"{CONNECT_S}s",
            "max_retries": str(RETRIES_MAX),
            "retry_timeout": f"{RETRY_S_MAX}s",
        }
        # A version is put only where none is: this makes two commits of one version impossible.
        return {**self.options, **limits, "aws_conditional_put": "etag"}


def access_of(settings: Settings) -> BucketAccess:
    """What LAKE_URL and the settings named AWS_* say."""
    names = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "ENDPOINT_URL")
    given = {f"aws_{name.lower()}": settings.text(f"AWS_{name}") for name in names}
    options = {name: value for name, value in given.items() if value}
    options.setdefault("aws_region", REGION)
    if urlsplit(given["aws_endpoint_url"]).scheme == "http":
        options["aws_allow_http"] = "true"
    return BucketAccess(settings.lake_url.rstrip("/"), options)


class Bucket:
    """Objects by key, which is a path below the prefix. Safe to use from many threads."""

    def __init__(self, access: BucketAccess) -> None:
        self.access = access
        self.url = access.url
        where = urlsplit(access.url)
        config = {name: v for name, v in access.options.items() if name != "aws_allow_http"}
        self._store = S3Store(
            where.netloc,
            prefix=where.path.strip("/") or None,
            config=config,  # type: ignore[arg-type]
            client_options={
                "timeout": timedelta(seconds=REQUEST_S),
                "connect_timeout": timedelta(seconds=CONNECT_S),
                "allow_http": "aws_allow_http" in access.options,
            },
            retry_config={
                "max_retries": RETRIES_MAX,
                "retry_timeout": timedelta(seconds=RETRY_S_MAX),
            },
        )

    def get(self, key: str) -> bytes:
        """All bytes of a small object; raise FileNotFoundError where there is none."""
        return bytes(self._asked(lambda: obstore.get(self._store, key).bytes()))

    def get_part(self, key: str, start: int, end: int) -> memoryview:
        """Bytes [start, end) of an object; raise FileNotFoundError where there is none."""
        return memoryview(
            self._asked(lambda: obstore.get_range(self._store, key, start=start, end=end))
        )

    def create(self, key: str, payload: bytes) -> bool:
        """Make an object, durable on return; False where there is one already."""
        try:
            self._asked(lambda: obstore.put(self._store, key, payload, mode="create"))
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def put(self, key: str, path: Path) -> None:
        """Make or replace an object by a file, then read it back; raise SealFailed, LakeError."""
        self._asked(
            lambda: obstore.put(
                self._store,
                key,
                path,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        )
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
            for start in range(0, len(view), PART_BYTES):
                end = min(start + PART_BYTES, len(view))
                if self.get_part(key, start, end) != view[start:end]:
                    raise SealFailed(
                        f"{self.url}/{key} reads back other bytes than were put",
                        hint="the rows stay hot; the seal is tried again",
                    )
        if (size := self.size(key)) != path.stat().st_size:
            raise SealFailed(f"{self.url}/{key} has {size} bytes, not those that were put")

    def size(self, key: str) -> int:
        """Bytes of an object; raise FileNotFoundError where there is none."""
        return int(self._asked(lambda: obstore.head(self._store, key))["size"])

    def list(self, prefix: str, after: str = "") -> dict[str, int]:
        """Keys below a prefix in order, those greater than `after`, and the size of each."""
        found: dict[str, int] = {}

        def read() -> None:
            for page in obstore.list(self._store, prefix, offset=after or None):
                found.update({str(one["path"]): int(one["size"]) for one in page})

        self._asked(read)
        return found

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, many a request; one that is not there is no error."""
        wanted = list(keys)
        if wanted:
            self._asked(lambda: obstore.delete(self._store, wanted))

    def check(self) -> None:
        """Raise LakeRefused or LakeLost where the bucket cannot be read."""

        def look() -> None:
            next(iter(obstore.list(self._store, chunk_size=1)), None)

        self._asked(look)

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except (AlreadyExistsError, PreconditionError):
            raise
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self.fault(error) from None
            raise FileNotFoundError(f"{self.url} has no such object") from None
        except (BaseError, OSError, ValueError) as error:
            raise self.fault(error) from None

    def fault(self, error: BaseException) -> LakeError:
        """What went wrong, told without what the other side said."""
        return fault_of(self.url, error)


def fault_of(url: str, error: BaseException) -> LakeError:
    """An error of the bucket in words of ours."""
    text = str(error)
    code = found[1] if (found := _CODE.search(text)) else ""
    status = next((s for s in found.groups() if s), "") if (found := _STATUS.search(text)) else ""
    refused = f"{url} refuses us: {code or status or 'no rights'}"
    if code in _MISPLACED:
        return LakeRefused(refused, hint="check LAKE_URL, AWS_REGION and AWS_ENDPOINT_URL")
    is_unknown = isinstance(error, PermissionDeniedError | UnauthenticatedError)
    if is_unknown or code in _UNKNOWN or status in ("401", "403"):
        hint = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the rights of that key"
        return LakeRefused(refused, hint=hint)
    reason = code or (f"status {status}" if status else _connection(text))
    return LakeLost(f"{url} cannot be reached: {reason}", hint="it is tried again by itself")


def _connection(text: str) -> str:
    low = text.lower().replace("retry_timeout", "")
    for mark, told in (
        ("refused", "connection refused"),
        ("timed out", "no answer in time"),
        ("timeout", "no answer in time"),
        ("dns", "its name is not known"),
        ("certificate", "its certificate is not trusted"),
        ("credential", "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("169.254.", "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ):
        if mark in low:
            return told
    return "the connection broke off"
