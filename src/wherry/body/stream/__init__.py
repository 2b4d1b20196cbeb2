"""A response's body: what has arrived, how it is decoded, and how a program reads it."""
