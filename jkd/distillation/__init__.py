"""From a plan to a trained run."""
