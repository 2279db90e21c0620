"""`python -m meshflow`: the command line."""

from meshflow.cli import main

if __name__ == "__main__":
    main()
