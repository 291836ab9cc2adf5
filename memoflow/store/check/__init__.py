"""Check: finding what is lost, damaged or wrong about a store."""
