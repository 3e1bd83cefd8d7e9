"""Schemas of tables and samples, written once and checked on both sides of every stage."""
