"""Work done in a forked child of the test."""

import json
import os
from collections.abc import Callable
from typing import Any


def forked(work: Callable[[], Any]) -> Any:
    """What `work` returns in a child, as JSON gives it back; it ends as multiprocessing's do."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        text = told.read()
    os.waitpid(child, 0)
    return json.loads(text)
