"""The search: a study that asks and tells, samplers and pruners, and executors that run trials."""
