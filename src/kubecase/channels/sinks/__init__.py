"""Where reports go: each module implements `core.ports.Sink` for one channel.

Here belong rendering (pure: `slack_blocks`, `webhook_document`, on the words of `wording`) and
posting (`posting`). Never here: deciding who is told of what, keeping what could not be sent, or
a link, a mention or a markup made of text from a cluster, an agent or an alert.
"""
