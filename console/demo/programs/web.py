"""The demo's HTTP service: says its release and its hub; `/healthz` says ok."""

import argparse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--hub", required=True)
    options = parser.parse_args()
    version = (Path(__file__).resolve().parent / "VERSION").read_text().strip()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = "ok\n" if self.path == "/healthz" else f"web {version} on {options.hub}\n"
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            if self.path != "/healthz":
                print(f"{self.command} {self.path}", flush=True)

    print(f"web {version} listens on {options.port}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", options.port), Answer).serve_forever()


if __name__ == "__main__":
    main()
