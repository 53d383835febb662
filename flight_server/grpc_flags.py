"""gRPC switches that must be set before gRPC is used for the first time. Imports nothing."""

import os

SERVER_FLAGS = {"GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener"}
# Without the event engine an idle client notices late that a server went; this makes it look.
CLIENT_FLAGS = {**SERVER_FLAGS, "GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS": "200"}


def set_grpc_flags(*, is_client: bool = False) -> None:
    """Set what is not set already, so an operator can still choose otherwise."""
    for name, value in (CLIENT_FLAGS if is_client else SERVER_FLAGS).items():
        # These are gRPC's own settings, not ours.
        os.environ.setdefault(name, value)  # noqa: TID251
