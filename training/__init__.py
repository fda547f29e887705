"""Cohorts, training recipes and evaluation."""
