"""Where faults come from; each module maps one outside format to `core.model.Fault`."""
