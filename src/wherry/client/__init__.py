"""What a program holds: the session, requests and responses, and the policies between them."""
