"""`python -m performer` is `performer`."""

from performer.cli import main

if __name__ == "__main__":
    main()
