"""What an agent can reach: reverse proxies of ours, read-only, budgeted, on record.

Here belong the cluster gateway, the model gateway, the tool server for agents, the policy that
decides about each request (pure) and the hash-chained record of what was asked and answered.
Never here: how a process is started, how an agent's CLI is called, what a fault is, and any
decision that depends on more than one request and the run's budget.
"""
