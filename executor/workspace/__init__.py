"""The files of a job on this machine: its folder, the volume of its container, outputs read without trust."""
