"""``python -m eskit`` is the same as ``eskit``."""

from eskit.cli.start import run

if __name__ == "__main__":
    run()
