"""What trains: the state, one step, compiled calls, the loop over epochs, devices, evaluation."""
