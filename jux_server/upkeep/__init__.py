"""What keeps a server in order: policies, pruning, backups, verification anew."""
