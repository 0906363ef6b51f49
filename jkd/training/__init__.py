"""What trains: jobs, the loop over epochs and what feeds it; one step is in `jkd.steps`."""
