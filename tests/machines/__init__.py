"""Stories on booted machines: real systemd, sshd, PostgreSQL, Django and gunicorn."""
