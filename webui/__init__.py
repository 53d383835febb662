"""The people's door: dashboard, webhooks and status over HTTP."""
