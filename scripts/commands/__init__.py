"""One module a command; `scripts/NAME` starts `scripts.commands.NAME`."""
