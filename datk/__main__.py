"""`python -m datk` is the same program as `datk`."""

from datk.cli.main import main

if __name__ == "__main__":
    main()
