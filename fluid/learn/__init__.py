"""Models: tasks, labels, learners, cross-fitting, calibration, domain, metrics, storage."""
