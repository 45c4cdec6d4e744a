"""What knows nothing of domains: errors, files, random generators, devices, processes."""
