"""A small HTTP proxy on loopback that stands in front of the real Orthanc and breaks what it is told to break."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Call:
    """One request as the proxy saw it. ``writes`` counts the requests before it that change something."""

    method: str
    path: str
    writes: int

    @property
    def is_write(self) -> bool:
        return self.method != "GET" and not self.path.startswith("/tools/lookup")


Fault = Callable[[Call], str]
"""What to do with a call: "pass", "before" (die before it), "after" (die after it), "500", "slow" or "redirect"."""


@dataclass
class Proxy:
    port: int
    fault: Fault = field(default=lambda call: "pass")
    calls: list[Call] = field(default_factory=list)
    redirect_to: str = ""
    headers: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def heal(self) -> None:
        self.fault = lambda call: "pass"
        self.calls.clear()


def dying(at_write: int, how: str) -> Fault:
    """The archive dies before or after its n-th change (counted from 0) and stays dead."""

    def fault(call: Call) -> str:
        if call.is_write and call.writes == at_write:
            return how
        return "before" if call.writes > at_write else "pass"

    return fault


@contextlib.contextmanager
def proxy(orthanc_port: int) -> Iterator[Proxy]:
    state = Proxy(0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # header and body in one packet, or each answer waits 40 ms for an acknowledgement
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            call = Call(self.command, self.path, sum(one.is_write for one in state.calls))
            state.calls.append(call)
            state.headers.append(str(self.headers))
            action = state.fault(call)
            if action == "before":
                self._drop()
            elif action == "500":
                self._answer(500, b'{"Message": "injected"}', {})
            elif action == "redirect":
                self._answer(302, b"", {"Location": state.redirect_to})
            elif action == "slow":
                time.sleep(1.5)
                self._drop()
            else:
                status, answer, headers = self._forward(body)
                if action == "after":
                    self._drop()
                else:
                    self._answer(status, answer, headers)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def _forward(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
            connection = http.client.HTTPConnection("127.0.0.1", orthanc_port, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_HEADERS}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_HEADERS}
            return answer.status, content, kept

        def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

        def _drop(self) -> None:
            self.close_connection = True
            self.connection.shutdown(2)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Clients that hang up are part of the tests."""

    server = Server(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
