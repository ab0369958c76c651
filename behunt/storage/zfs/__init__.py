"""Boot environments as ZFS datasets."""
