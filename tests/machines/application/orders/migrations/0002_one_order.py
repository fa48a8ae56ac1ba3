"""Some data."""

from django.db import migrations


def add(apps, _editor):
    apps.get_model("orders", "Order").objects.create(name="first")


class Migration(migrations.Migration):
    dependencies = [("orders", "0001_initial")]
    operations = [migrations.RunPython(add)]
