"""How a machine of a lab boots a clone over the network, and what it does for a run."""
