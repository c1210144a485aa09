"""`python -m seodang` is the `seodang` command."""

from seodang.cli.main import entry

if __name__ == "__main__":
    entry()
