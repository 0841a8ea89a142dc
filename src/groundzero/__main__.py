"""`python -m groundzero` is `gz`."""

from groundzero.cli.app import main

if __name__ == "__main__":
    raise SystemExit(main())
