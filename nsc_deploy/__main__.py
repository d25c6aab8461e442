"""The command line: `nsc-deploy`, or `python -m nsc_deploy` where scripts are not on PATH."""

import sys


def main() -> None:
    """Run the command line, and end quietly where Ctrl-C comes while it is still being loaded."""
    try:
        from nsc_deploy.cli.app import main as command_line
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    command_line()


if __name__ == "__main__":
    main()
