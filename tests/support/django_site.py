# SPDX-License-Identifier: GPL-3.0-or-later
"""A Django site whose middleware keeps every request, in a core before and one after some.

    python django_site.py OUT

What it keeps for ever hangs on its module's RECENT, and on each instance's `slow`.
"""

import gc
import os
import sys

REQUESTS = 400
RECENT = {}


class Remember:
    """Keeps the requests that it has seen, for a page of statistics that nobody reads."""

    def __init__(self, get_response):
        self.get_response = get_response
        self.slow = []

    def __call__(self, request):
        response = self.get_response(request)
        RECENT[id(request)] = request
        self.slow.append({"path": request.path, "took": 0.5 + len(self.slow)})
        return response


def page(request, number):
    from django.http import HttpResponse
    return HttpResponse("page %d\n" % number * 20)


def client():
    from django.conf import settings
    from django.urls import path
    sys.modules["site_urls"] = type(sys)("site_urls")
    sys.modules["site_urls"].urlpatterns = [path("pages/<int:number>/", page)]
    settings.configure(DEBUG=False, SECRET_KEY="secret", ROOT_URLCONF="site_urls",
                       ALLOWED_HOSTS=["*"], MIDDLEWARE=["__main__.Remember"])
    import django
    django.setup()
    from django.test import Client
    return Client()


def serve(browser, begin):
    for number in range(begin, begin + REQUESTS):
        assert browser.get("/pages/%d/" % number).status_code == 200
    gc.collect()


def tell(step):
    path = "%s.%d" % (sys.argv[1], step)
    with open(path + ".new", "w") as f:
        f.write("{}")
    os.rename(path + ".new", path)
    sys.stdin.readline()


def main():
    browser = client()
    serve(browser, 0)
    tell(1)
    serve(browser, REQUESTS)
    tell(2)


if __name__ == "__main__":
    main()
