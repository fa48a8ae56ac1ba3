"""Settings that come from the environment, as a real application's do."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("SECRET_KEY", "for tests alone")
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "site_.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "orders"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
ON_MARIADB = {
    "ENGINE": "django.db.backends.mysql",
    "HOST": os.environ.get("DATABASE_HOST", "127.0.0.1"),
    "NAME": "shop",
    "USER": "shop",
    "PASSWORD": os.environ.get("DATABASE_PASSWORD", ""),
    "OPTIONS": {"connect_timeout": 3},
}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ.get("DATABASE_HOST", "127.0.0.1"),
        "NAME": "shop",
        "USER": "postgres",
        "PASSWORD": os.environ.get("DATABASE_PASSWORD", ""),
        "OPTIONS": {"connect_timeout": 3},
    }
}
if os.environ.get("DATABASE_KIND") == "mariadb":
    DATABASES["default"] = ON_MARIADB
