"""Runs the command line as `python -m policies.cli`."""

from policies.cli import main

if __name__ == "__main__":
    main()
