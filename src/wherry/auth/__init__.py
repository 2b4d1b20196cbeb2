"""Who the client says it is: Basic, Digest and netrc files, as values; it sends nothing."""
