"""Modules of this folder that serve requests, so that what they import is imported once."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def served(module):
    """Start a module that answers each line of JSON with another; gives the function that asks it."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.{module}"],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )

    def ask(request):
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    try:
        yield ask
    finally:
        process.stdin.close()
        process.wait()
