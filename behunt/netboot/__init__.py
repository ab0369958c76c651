"""Machines that boot from the network."""
