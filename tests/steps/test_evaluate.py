"""What the reported figures mean."""

import chex
import jax.numpy as jnp
import numpy as np

from jkd.steps.evaluate import accuracy_metrics, expected_calibration_error, vote


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    # Ten examples, each 80 % sure of class 0, six of them right: |0.6 − 0.8|.
    logits = jnp.tile(jnp.log(jnp.asarray([0.8, 0.2])), (10, 1))
    labels = jnp.asarray([0] * 6 + [1] * 4)
    chex.assert_trees_all_close(expected_calibration_error(logits, labels), 0.2, atol=1e-6)


def test_calibration_error_is_summed_over_bins():
    # Half the examples 90 % sure and all right, half 60 % sure and all wrong.
    logits = jnp.log(jnp.asarray([[0.9, 0.1]] * 5 + [[0.6, 0.4]] * 5))
    labels = jnp.asarray([0] * 5 + [1] * 5)
    chex.assert_trees_all_close(expected_calibration_error(logits, labels), 0.5 * 0.1 + 0.5 * 0.6, atol=1e-6)


def test_a_certain_and_right_network_is_calibrated():
    logits = 1e4 * jnp.eye(4)
    metrics = accuracy_metrics(logits, jnp.arange(4))
    assert float(metrics["ece"]) == 0 and float(metrics["top1"]) == 1 and float(metrics["loss"]) == 0


def test_top_five():
    logits = jnp.tile(jnp.arange(10.0), (10, 1))
    metrics = accuracy_metrics(logits, jnp.arange(10))
    chex.assert_trees_all_close(metrics["top1"], 0.1)
    chex.assert_trees_all_close(metrics["top5"], 0.5)


def test_the_vote_is_the_mean_of_probabilities_not_of_logits():
    sure = np.log(np.asarray([[0.98, 0.02]], np.float32))
    unsure = np.log(np.asarray([[0.3, 0.7]], np.float32))
    ensemble = vote([100 * sure, unsure, unsure])
    # The logits' mean would follow the one that is sure beyond measure.
    expected = np.log([[(1 + 0.3 + 0.3) / 3, (0 + 0.7 + 0.7) / 3]])
    chex.assert_trees_all_close(ensemble, expected, rtol=1e-5)
