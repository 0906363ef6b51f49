"""Many runs: methods over seeds, tuned on images held out from training."""
