"""The report as a value: its schema, how it is built, held to a budget and compared."""
