"""Set-up of a bare machine, used by every command alike: steps that are cached by what they are made from."""
