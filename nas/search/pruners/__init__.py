"""Pruners: what stops a trial before its last epoch.

A pruner is a component: `(**options)` with `.stops(trial, history) -> bool`, asked after every
epoch with the trial's metrics so far.
"""
