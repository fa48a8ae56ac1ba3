"""`/` says the version, `/healthz` whether the database answers, `/orders` reads from it."""

from pathlib import Path

from django.db import connection
from django.http import HttpResponse
from django.urls import path
from orders.models import Order

VERSION = (Path(__file__).resolve().parent.parent / "VERSION").read_text().strip()


def home(_request):
    return HttpResponse(VERSION)


def health(_request):
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    return HttpResponse(f"fine {VERSION}")


def orders(_request):
    return HttpResponse(str(Order.objects.count()))


urlpatterns = [path("", home), path("healthz", health), path("orders", orders)]
