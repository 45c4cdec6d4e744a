"""The command line in several processes at once, as torchrun starts them: one process that forks the ranks of
each request, so that all is imported once.

Reads lines of JSON {"arguments": of datk, "ranks": how many, "folder": for what they print, "limit": seconds}
from its input and writes a line with the code that each ended with: of its exit, minus the signal that killed
it, or "hangs" if it had to be killed at the limit.
"""

import json
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import torch

import datk
from datk.cli.main import main as cli
from tests.toys import TOYS


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def child(request, rank, port):
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(f"{request['folder']}/rank-{rank}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(request["ranks"]),
        "LOCAL_WORLD_SIZE": str(request["ranks"]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    os.chdir(request["folder"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cli(request["arguments"])


def wait(pids, limit):
    """The code of each process."""
    codes, end = {}, time.monotonic() + limit
    while len(codes) < len(pids):
        for pid in pids:
            if pid not in codes:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    codes[pid] = os.waitstatus_to_exitcode(status)
                elif time.monotonic() > end:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    codes[pid] = "hangs"
        time.sleep(0.01)
    return [codes[pid] for pid in pids]


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        datk.run(
            pair=TOYS + "Toy", backbone="mlp", align="none", epochs=1, out=Path(folder) / "run", device="cpu"
        )
    for line in sys.stdin:
        request = json.loads(line)
        port, pids = free_port(), []
        for rank in range(request["ranks"]):
            pid = os.fork()
            if pid == 0:
                code = 0
                try:
                    child(request, rank, port)
                except SystemExit as stop:
                    code = stop.code
                finally:
                    sys.stdout.flush(), sys.stderr.flush()
                    os._exit(code)
            pids.append(pid)
        print(json.dumps(wait(pids, request["limit"])), flush=True)


if __name__ == "__main__":
    main()
