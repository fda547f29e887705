"""The application: network, ledger, decisions acted on, command line."""
