"""What is matched: losses per example, pure functions of arrays; averaging and weighting are the caller's.

A function whose argument is called `teacher_logits` stops the gradient there. The others are symmetric and
differentiable in both arguments, because either side may have passed a learned projection.
"""
