"""What wakeline costs beside a plain ssh script that does the same, on the same machines in the same run."""
