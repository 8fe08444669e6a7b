"""One module for each command or family of commands; each imports the service in its body only."""
