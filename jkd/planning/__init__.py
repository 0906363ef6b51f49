"""From settings to a plan: all that is decided before anything is trained."""
