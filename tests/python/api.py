#!/usr/bin/env python3
"""Lets schemathesis ask a flame-control of its own for everything that its OpenAPI document promises, and for what it
does not, for some seconds. Fails on a server error and on an answer that the document does not allow.

usage: api.py FLAME_CONTROL SECONDS
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

# Streams do not end by themselves, so that whoever waits for their end waits for ever.
STREAMS = "/v1/jobs/{job}/watch"
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "ignored_auth",
    "use_after_free",
]
START_WITHIN = 30.0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def call(url, token, body=None, kind="application/json"):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    request = urllib.request.Request(url, data=body, headers=headers, method="POST" if body is not None else "GET")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


def wait_for(server, token_file, url):
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"flame-control ended with status {server.returncode}")
        try:
            token = token_file.read_text().strip()
            call(f"{url}/v1/jobs", token)
            return token
        except OSError:
            time.sleep(0.1)
    sys.exit(f"flame-control did not answer within {START_WITHIN:.0f} s")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    tester = shutil.which("schemathesis") or shutil.which("st")
    if tester is None:
        print("schemathesis is not installed (pip install schemathesis): the API was not tested by it")
        return 0
    with tempfile.TemporaryDirectory() as home:
        ports = {name: str(free_port()) for name in ("api", "notifier", "broker")}
        # A server that could place nothing is not well, and says so: a program is enough, since no job is started.
        placed = shutil.which("true") or "/bin/true"
        command = [sys.argv[1], "--home", f"{home}/control", "--log", "error,rumqttd=off", "--flamelet", placed]
        for name, port in ports.items():
            command += [f"--{name}-port", port]
        environment = dict(os.environ, FLAME_HOME=f"{home}/cli")
        server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{ports['api']}"
            token = wait_for(server, Path(home, "control", "token"), url)
            # Something to find: most of what is asked for at random is not there.
            call(f"{url}/v1/designs", token, json.dumps({"id": "d"}).encode())
            call(f"{url}/v1/datasets", token, b'{"url": "file:///a", "realm": "default", "isPublic": true}')
            run = [tester, "run", f"{url}/v1/openapi.json", "--max-time", sys.argv[2], "--checks", ",".join(CHECKS)]
            run += ["-H", f"Authorization: Bearer {token}", "--exclude-path", STREAMS, "--request-timeout", "30"]
            run += ["--suppress-health-check", "all", "--warnings", "off", "--no-shrink"]
            outcome = subprocess.run(run, cwd=home, check=False).returncode
            call(f"{url}/v1/jobs", token)
            return outcome
        finally:
            server.terminate()
            server.wait(timeout=30)


if __name__ == "__main__":
    sys.exit(main())
