"""A service with one page, GET /articles, that verifies access tokens by itself.

It asks Doorward for its public keys, which PyJWT caches, and listens to its feed of revocations.

DOORWARD_KEY=dwk_... DOORWARD_URL=http://127.0.0.1:3000 PORT=8080 python3 examples/verifier.py
"""
import json
import os
import sys
import time
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import jwt

DOORWARD = os.environ.get("DOORWARD_URL", "http://127.0.0.1:3000").rstrip("/")
KEY = os.environ.get("DOORWARD_KEY") or sys.exit("DOORWARD_KEY must be an API key with tokens:introspect")
ISSUER = os.environ.get("ISSUER", DOORWARD)
AUDIENCE = os.environ.get("AUDIENCE", "doorward")
LEEWAY = 5  # seconds that the clocks of the two machines may differ
PERMISSION = os.environ.get("PERMISSION", "articles:read")

keys = jwt.PyJWKClient(DOORWARD + "/.well-known/jwks.json")


class Unavailable(Exception):
    """Nobody can be let in now."""


class Revocations:
    """What the feed has told: tokens that are void although they look good."""

    SILENCE = 60  # seconds without news after which nobody is let in

    def __init__(self):
        self.users, self.sessions, self.tokens, self.before = {}, {}, {}, (0, 0)
        self.heard_at = float("-inf")

    def follow(self):
        cursor = None
        while True:
            try:
                page = self.next_page(cursor)
                self.take(page)
                cursor, self.heard_at = page["cursor"], time.monotonic()
            except (OSError, HTTPException, ValueError, KeyError, jwt.PyJWTError) as error:
                print(f"the feed: {error}", file=sys.stderr)
                time.sleep(1)

    def next_page(self, cursor):
        query = urlencode({"since": cursor, "wait": "30s"} if cursor else {})
        request = Request(f"{DOORWARD}/api/revocations?{query}", headers={"Authorization": "Bearer " + KEY})
        with urlopen(request, timeout=40) as answer:
            return json.load(answer)

    def take(self, page):
        now = time.time()
        for kept in (self.users, self.sessions, self.tokens):  # what was void has expired since
            for over in [key for key, (_, until) in list(kept.items()) if until < now]:
                del kept[over]
        for change in page["changes"]:
            until = change.get("until")
            match change["type"]:
                case "user":
                    least, later = self.users.get(change["sub"], (0, 0))
                    self.users[change["sub"]] = max(least, change["leastVersion"]), max(until, later)
                case "session":
                    self.sessions[change["sid"]] = None, until
                case "token":
                    self.tokens[change["jti"]] = None, until
                case "notBefore":
                    self.before = max(self.before, (change["iat"], until))
        if page["startsAnew"] or any(change["type"] == "keys" for change in page["changes"]):
            keys.get_jwk_set(refresh=True)

    def cover(self, claims):
        if time.monotonic() - self.heard_at > self.SILENCE:
            raise Unavailable
        least, _ = self.users.get(claims["sub"], (0, 0))
        is_listed = claims["sid"] in self.sessions or claims["jti"] in self.tokens
        return is_listed or claims["ver"] < least or claims["iat"] < self.before[0]


revocations = Revocations()
Thread(target=revocations.follow, daemon=True).start()


def verify(token):
    """The claims of a token that is in force."""
    try:
        key = keys.get_signing_key_from_jwt(token)
    except jwt.PyJWKClientConnectionError as error:
        raise Unavailable from error
    # The algorithm is the key's, whatever the token says.
    decoded = jwt.decode_complete(token, key.key, algorithms=[key.algorithm_name], issuer=ISSUER, audience=AUDIENCE, leeway=LEEWAY)
    if decoded["header"].get("typ") != "at+jwt":
        raise jwt.InvalidTokenError("not an access token")
    if revocations.cover(decoded["payload"]):
        raise jwt.InvalidTokenError("revoked")
    return decoded["payload"]


def may(granted):
    """Whether the permission is among those granted; articles:* and * grant more than one."""
    return not {PERMISSION, PERMISSION.partition(":")[0] + ":*", "*"}.isdisjoint(granted)


class Service(BaseHTTPRequestHandler):
    def do_GET(self):
        scheme, _, token = (self.headers["Authorization"] or "").partition(" ")
        if self.path != "/articles":
            return self.say(404, {})
        try:
            claims = verify(token if scheme.lower() == "bearer" else "")
        except Unavailable:
            return self.say(503, {"error": "UNAVAILABLE"})
        except jwt.PyJWTError as error:
            print(f"refused: {error}", file=sys.stderr)
            return self.say(401, {"error": "INVALID_TOKEN"}, 'Bearer error="invalid_token"')
        if not may(claims["permissions"]):
            return self.say(403, {"error": "FORBIDDEN"}, f'Bearer error="insufficient_scope", scope="{PERMISSION}"')
        self.say(200, {"articles": ["On doors"], "reader": claims["sub"]})

    def say(self, status, body, challenge=None):
        body = json.dumps(body).encode()
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
