"""The always-on process: it serves its version too, so that a story can see what runs."""

import http.server
from pathlib import Path

VERSION = (Path(__file__).resolve().parent / "VERSION").read_text().strip()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(VERSION.encode())

    def log_message(self, *_words):
        return


http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
