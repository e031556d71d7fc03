"""A service with one page, GET /articles, for whoever Doorward says may read it.

DOORWARD_URL=http://127.0.0.1:3000 PORT=8080 python3 examples/ask.py
"""
import json
import os
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode, urlsplit

DOORWARD = urlsplit(os.environ.get("DOORWARD_URL", "http://127.0.0.1:3000"))
QUESTION = "/api/auth/verify?" + urlencode({"permission": os.environ.get("PERMISSION", "articles:read")})


def ask(authorization):
    """What Doorward answers to this caller. No redirect is followed: the token is for Doorward alone."""
    connect = HTTPSConnection if DOORWARD.scheme == "https" else HTTPConnection
    door = connect(DOORWARD.netloc, timeout=5)
    try:
        door.request("GET", QUESTION, headers={"Authorization": authorization} if authorization else {})
        answer = door.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        door.close()


class Service(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/articles":
            return self.say(404, b"{}")
        try:
            status, headers, body = ask(self.headers["Authorization"])
        except (OSError, HTTPException, ValueError):
            return self.say(503, b'{"error":"UNAVAILABLE"}')
        if status in (401, 403):
            return self.say(status, body, headers["WWW-Authenticate"])
        user = headers["X-Auth-User"]
        if status != 200 or not user:  # 200 from what is not Doorward is no yes
            return self.say(503, b'{"error":"UNAVAILABLE"}')
        self.say(200, json.dumps({"articles": ["On doors"], "reader": user}).encode())

    def say(self, status, body, challenge=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Service)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
