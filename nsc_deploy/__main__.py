"""`python -m nsc_deploy`: the command line, for environments whose scripts are not on PATH."""

from nsc_deploy.cli.app import main

if __name__ == "__main__":
    main()
