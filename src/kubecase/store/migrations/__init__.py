"""The history of the schema, oldest first; shipped with the program and run by it."""
