"""Distribution sets of the BSDs: the archives that their own installers unpack."""
