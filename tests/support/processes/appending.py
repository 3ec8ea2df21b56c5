"""A process that appends one event after another, and says of each that it was stored.

Run as ``python appending.py URL``; ends with what refused the next one.
"""

import sys

from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, NewEvent, open_store
from eskit.errors import StoreUnavailable


def main(url: str) -> None:
    with open_store(url) as store:
        while True:
            event = NewEvent(StringValue(value="x" * 100))
            try:
                stored = store.append("Account-1", [event], expected_version=ANY)
            except StoreUnavailable as refused:
                print("refused", refused, refused.hint, sep="\t", flush=True)  # noqa: T201
                sys.stdin.readline()
                return
            print("stored", stored.version, sep="\t", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
