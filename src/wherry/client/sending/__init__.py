"""The way of a request: built, sent from hop to hop, and tried again where that is safe."""
