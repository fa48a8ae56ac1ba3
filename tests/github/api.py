"""GitHub's deployments API as a local server. Each request is held against GitHub's own description of the call."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema

DESCRIPTION = json.loads(Path(__file__).with_name("rest_description.json").read_text())
CREATE = re.compile(r"/repos/example/shop/deployments\Z")
STATUS = re.compile(r"/repos/example/shop/deployments/(\d+)/statuses\Z")


@dataclasses.dataclass
class Api:
    """What was asked of it. `mood` is well, down (answers 503), or silent (answers nothing)."""

    url: str = ""
    mood: str = "well"
    deployments: dict[int, dict[str, Any]] = dataclasses.field(default_factory=dict)
    statuses: list[tuple[int, dict[str, Any]]] = dataclasses.field(default_factory=list)
    wrong: list[str] = dataclasses.field(default_factory=list)
    over: threading.Event = dataclasses.field(default_factory=threading.Event)

    @property
    def states(self) -> list[str]:
        return [body["state"] for _, body in self.statuses]

    @property
    def words(self) -> list[str]:
        return [body["description"] for _, body in self.statuses]

    def take(self, path: str, body: Any, headers: Any) -> tuple[int, dict[str, Any]]:
        wanted = {"Authorization": "Bearer run-token-1234", "X-GitHub-Api-Version": "2022-11-28"}
        self.wrong += [f"{key}: {headers[key]}" for key, value in wanted.items() if headers[key] != value]
        created, status = CREATE.search(path), STATUS.search(path)
        operation = "repos/create-deployment" if created else "repos/create-deployment-status"
        try:
            jsonschema.validate(body, DESCRIPTION[operation])
        except jsonschema.ValidationError as error:
            self.wrong.append(f"{operation}: {error.message}")
            return 422, {"message": error.message}
        if created:
            number = 100 + len(self.deployments)
            self.deployments[number] = body
            return 201, {"id": number, "url": f"{self.url}{path}/{number}"}
        if status and int(status[1]) in self.deployments:
            self.statuses.append((int(status[1]), body))
            return 201, {"id": len(self.statuses), "state": body["state"]}
        self.wrong.append(f"there is no {path}")
        return 404, {"message": "Not Found"}


def serve() -> Iterator[Api]:
    """One of them, for as long as the caller goes on."""
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if api.mood == "silent":
                api.over.wait(60)
                return
            code, answer = (503, {}) if api.mood == "down" else api.take(self.path, json.loads(body), self.headers)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            """The tests look at `api`, not at a log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield api
    finally:
        api.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
