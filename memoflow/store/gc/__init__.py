"""GC: eviction of refs and sweeps of unreached blobs, while others save."""
