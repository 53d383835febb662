"""A TCP link that lets only so many bytes a second through, towards the server or from it."""

import socket
import threading
from contextlib import contextmanager, suppress

CHUNK_BYTES = 16_384


@contextmanager
def slow_link(server_port, *, bytes_per_s, is_from_server=False):
    """Yields the port to connect to."""
    pause_s = CHUNK_BYTES / bytes_per_s
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    threads = []

    def pump(source, sink, pause_s):
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                ended.wait(pause_s)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def accept():
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", server_port))
                pauses_s = (0, pause_s) if is_from_server else (pause_s, 0)
                # A small buffer, so that the sender feels how slow the link is.
                slow = far if is_from_server else near
                slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK_BYTES)
                for ends in ((near, far, pauses_s[0]), (far, near, pauses_s[1])):
                    threads.append(threading.Thread(target=pump, args=ends, daemon=True))
                    threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
