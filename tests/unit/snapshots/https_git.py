"""A git server over TLS for test_fetch.c, by git's own http-backend.

    https_git.py CERTIFICATE KEY PROJECT_ROOT LOG

prints its port. /git/... serves repositories, /login/... too to whoever logs in
as "bot" with "sesame"; /redirect/... (to another host), /auth/..., /none/...
and /hang/... misbehave as named. Each request is a line of LOG.
"""

import base64
import http.server
import os
import ssl
import subprocess
import sys
import threading

CERTIFICATE, KEY, ROOT, LOG = sys.argv[1:5]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def plain(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def backend(self, path):
        name, _, query = path.partition("?")
        env = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_PROJECT_ROOT": ROOT,
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": name,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
        }
        body = self.body()
        env["CONTENT_LENGTH"] = str(len(body))
        answer = subprocess.run(["git", "http-backend"], input=body, env=env,
                                capture_output=True).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        status = 200
        headers = []
        for line in head.decode().split("\r\n"):
            key, _, value = line.partition(": ")
            if key == "Status":
                status = int(value.split()[0])
            elif key:
                headers.append((key, value))
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        with open(LOG, "a", encoding="utf-8") as log:
            log.write(f"{self.command} {self.path}\n")
        kind, _, rest = self.path[1:].partition("/")
        if kind == "git":
            self.backend("/" + rest)
        elif kind == "login":
            given = self.headers.get("Authorization") or ""
            if given == "Basic " + base64.b64encode(b"bot:sesame").decode():
                self.backend("/" + rest)
            else:
                self.body()
                self.plain(401, WWW_Authenticate='Basic realm="x"')
        elif kind == "redirect":
            port = self.server.server_address[1]
            self.plain(302, Location=f"https://127.0.0.1:{port}/git/{rest}")
        elif kind == "auth":
            self.plain(401, WWW_Authenticate='Basic realm="x"')
        elif kind == "hang":
            threading.Event().wait()
        else:
            self.plain(404)

    do_POST = do_GET


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
server.socket = context.wrap_socket(server.socket, server_side=True)
os.write(1, f"{server.server_address[1]}\n".encode())
server.serve_forever()
