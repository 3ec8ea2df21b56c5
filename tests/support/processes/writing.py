"""A process that appends to one stream as fast as it can and reports how each append ended.

Run as ``python writing.py URL STREAM COUNT``; prints one line per outcome.
"""

import sys
from collections import Counter

from google.protobuf.wrappers_pb2 import StringValue

from eskit import NewEvent, open_store
from eskit.errors import VersionConflict


def main(url: str, stream: str, count: int) -> None:
    outcomes: Counter[str] = Counter()
    with open_store(url) as store:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        for number in range(count):
            version = store.stream_version(stream)
            try:
                store.append(
                    stream, [NewEvent(StringValue(value=str(number)))], expected_version=version
                )
                outcomes["appended"] += 1
            except VersionConflict:
                outcomes["conflict"] += 1
    for outcome, times in outcomes.items():
        sys.stdout.write(f"{outcome} {times}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
