"""Text models of the zoo."""
