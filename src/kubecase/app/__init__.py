"""Where everything is put together and people touch it: command line, settings, wiring, logs.

This room knows every other one. Here belong commands, the one reader of the environment, plug-in
loading, the choice of implementations, log and metric output, and later the web page. Never here:
a decision about an incident, a way of running an agent, or SQL. Importing a command must not import
the service: `kubecase --help` answers before the libraries of an investigation are loaded.
"""
