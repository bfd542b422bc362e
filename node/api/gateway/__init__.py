"""The gateway: OpenAI's HTTP interface over jobs of this node, for programs that hold a key with a budget."""
