"""Names: who resolves them, what is remembered, and which addresses are allowed."""
