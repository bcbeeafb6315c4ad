#!/usr/bin/env python3
"""Starts a huidu in a folder of its own, and has schemathesis try every call of its document: as an administrator,
and as a browser. Usage: run.py <huidu> <schemathesis>"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

HERE = pathlib.Path(__file__).parent
ADMIN = "an-admin-key-of-this-test-0123456789"
# A flag of the other environment, for what goes from one to another.
FLAG = {
    "key": "wechat-scan-pay",
    "value_type": "boolean",
    "variants": {"off": False, "on": True},
    "off_variant": "off",
    "rules": [{"id": "ramp", "serve": {"rollout": {"percent": 5, "control": 5}}}],
}


def start(program, folder):
    """The process, its address and its client key, as its first start prints them."""
    environment = {
        "PATH": os.environ["PATH"],
        "HUIDU_DATA_DIR": folder,
        "HUIDU_LISTEN": "127.0.0.1:0",
        "HUIDU_BOOTSTRAP_ADMIN_KEY": ADMIN,
        "HUIDU_DATABASE_TIMEOUT_MS": "20000",
        "HUIDU_FAILED_AUTH_PER_MINUTE": "1000000",
        "HUIDU_WRITES_PER_MINUTE": "1000000",
    }
    log = open(pathlib.Path(folder) / "log", "w")
    process = subprocess.Popen(
        [program, "serve"], env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True
    )
    address = client = None
    for line in process.stdout:
        address = address or (re.search(r"http://[\d.:]+", line) or [None])[0]
        client = client or (re.search(r"huidu_client_\w+", line) or [None])[0]
        if address and client:
            return process, address, client
    sys.exit(f"huidu did not start: {pathlib.Path(log.name).read_text()}")


def put_flag(address):
    """Makes the flag of `staging`."""
    headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json", "If-None-Match": "*"}
    url = f"{address}/v1/environments/staging/flags/{FLAG['key']}"
    request = urllib.request.Request(url, json.dumps(FLAG).encode(), headers, method="PUT")
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 201


def attempt(schemathesis, folder, address, name, key, arguments):
    """One run with one key; whether it passed."""
    print(f"--- with {name} key", flush=True)
    command = [schemathesis, "--config-file", HERE / "schemathesis.toml", "run", f"{address}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {key}", "--no-color", *arguments]
    # What it keeps of a run goes with the folder.
    paths = {"SCHEMATHESIS_HOOKS": str(HERE / "hooks.py"), "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(command, cwd=folder, env={**os.environ, **paths}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = run.stdout.splitlines()
    print("\n".join(lines if run.returncode else lines[-12:]), flush=True)
    return run.returncode == 0


def main():
    program, schemathesis = (str(pathlib.Path(argument).absolute()) for argument in sys.argv[1:3])
    with tempfile.TemporaryDirectory() as folder:
        process, address, client = start(program, folder)
        try:
            put_flag(address)
            passed = attempt(schemathesis, folder, address, "an admin", ADMIN, ["--max-examples", "8"])
            # Nearly everything is refused alike: a few looks at each call are enough.
            browser = ["--phases", "examples,fuzzing", "--max-examples", "5"]
            passed &= attempt(schemathesis, folder, address, "a client", client, browser)
            # Whatever it was sent, it must answer on.
            if process.poll() is not None:
                sys.exit("huidu has ended")
            log = (pathlib.Path(folder) / "log").read_text()
            if "panicked" in log:
                sys.exit(f"a panic: {log[log.index('panicked') - 500:][:2000]}")
        finally:
            process.kill()
            process.wait()
    sys.exit(0 if passed else 1)


main()
