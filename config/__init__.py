"""Settings, rules and policies: data and its schema, no behaviour."""
