"""Helpers of the book Residual Networks, Measured: data, models, counting, probes, training, experiments, plots."""
