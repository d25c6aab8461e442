"""The script that runs Lava, in the managed environment. Nothing here is imported by the package itself."""
