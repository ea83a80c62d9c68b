"""What is learnt from pairs."""
