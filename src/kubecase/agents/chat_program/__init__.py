"""The program of the agent `openai_chat`. Stand-alone: standard library only.

    python -I -S chat_program CONFIG.json      the prompt on stdin, keys in the environment

It asks a model by OpenAI's chat completions, calls the tools of kubecase by MCP for it, and tells
what it does as JSON lines. Here belong one conversation and its two connections. Never here:
another tool, a file that is written, a process that is started, or anything of kubecase's own.
"""
