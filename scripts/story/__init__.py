"""The story that `scripts/demo` tells: five nodes, an honest job, a dishonest one, and where every coin went."""
