"""Soft labels in memory: one teacher's, pooled ones, their shrinkage, targets for a student."""
