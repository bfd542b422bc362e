"""How the noise constants of a model are measured, and how well they tell it from its substitutes."""
