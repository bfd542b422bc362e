"""How the noise constants of a model are measured, and from what prompts."""
