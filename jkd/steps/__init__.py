"""One step of training: what is trained, what it sees, its compiled calls, and what they come to."""
