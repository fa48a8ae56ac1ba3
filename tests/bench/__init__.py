"""What a rollout costs beside the tools that people would otherwise use: same machines, same job, same run."""
