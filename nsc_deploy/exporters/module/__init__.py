"""The targets "snntorch" and "norse": a readable Python module of the framework's neurons, with weights."""
