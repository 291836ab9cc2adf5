"""Flow: Metaflow's decorators, scheduler and command line."""
