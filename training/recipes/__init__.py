"""How bundled weights and calibrations were made. Every recipe is a command that can be run again."""
