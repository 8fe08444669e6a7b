"""The HTTP API of `kubecase serve`: who may ask, what is answered, and what is never answered.

Everything that comes in is foreign: bodies are counted while they are read, ids and paths are
checked, files are opened by handle. FastAPI and uvicorn are imported only when a service begins.
"""
