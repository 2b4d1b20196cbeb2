"""The pool: which connection carries which request, and who waits for one."""
