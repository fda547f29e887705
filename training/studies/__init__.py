"""Measurements that answer one question each, as commands that can be run again."""
