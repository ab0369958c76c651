"""`python -m behunt`."""

from behunt.cli.main import main

if __name__ == "__main__":
    main()
