"""Runs rivals in turns and compares what they measured."""
