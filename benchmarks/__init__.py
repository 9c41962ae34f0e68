"""Training, evaluation and their scaling, measured beside the peers: `make bench`."""
