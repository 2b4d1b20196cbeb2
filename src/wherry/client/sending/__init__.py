"""The way of a request: built, sent leg by leg of redirects, and tried again where that is safe."""
