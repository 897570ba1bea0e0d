"""A git server over TLS for test_fetch.c, by git's own http-backend.

    https_git.py CERTIFICATE KEY PROJECT_ROOT LOG

prints its port. /git/... serves repositories, /login/... too to whoever logs in
as "bot" with "sesame"; /redirect/... (to another host), /port/... (to another
port), /moved/... (to /git/...), /refs/... (refs without end), /auth/..., /none/...
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
        elif kind in ("moved", "moved-login"):
            self.plain(302, Location=f"/git/{rest}" if kind == "moved" else f"/login/{rest}")
        elif kind == "port":
            self.plain(302, Location=f"https://localhost:{OTHER.server_address[1]}/git/{rest}")
        elif kind == "refs":
            self.send_response(200)
            self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
            self.end_headers()
            self.wfile.write(b"001e# service=git-upload-pack\n0000")
            line = b"%s refs/heads/" + b"x" * 900 + b"%06d\n"
            for n in range(1 << 20):
                text = line % (b"%040x" % (n + 1), n)
                self.wfile.write(b"%04x" % (len(text) + 4) + text)
        elif kind == "auth":
            self.plain(401, WWW_Authenticate='Basic realm="x"')
        elif kind == "hang":
            threading.Event().wait()
        else:
            self.plain(404)

    do_POST = do_GET


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)



class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Clients that hang up are what some tests are about."""


def serve():
    """Another port of the same host is another server."""
    made = Server(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.socket = context.wrap_socket(made.socket, server_side=True)
    return made


server = serve()
OTHER = serve()
threading.Thread(target=OTHER.serve_forever, daemon=True).start()
os.write(1, f"{server.server_address[1]}\n".encode())
server.serve_forever()
