# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of a heap that real programs have: Django, numpy, lxml, Sphinx, extensions."""

import io
import os
import shutil
import sys
import tempfile
import types

from parts import on_request


@on_request
def numpy():
    import numpy as np
    objects = np.array([object() for _ in range(100)] + [None, "text", 5], dtype=object)
    grid = np.empty((4, 5), dtype=object)
    grid[1, 2] = [1]
    structured = np.zeros(10, dtype=[("name", "O"), ("number", "i4"), ("inner", [("o", "O")])])
    for i, row in enumerate(structured):
        row["name"] = {i: "name"}
        row["inner"]["o"] = ("inner", i)
    scalar = structured[3]
    return [objects, grid, grid.T, grid[::2, 1:4:2], structured, structured["name"], scalar,
            np.zeros(0, dtype=object), np.array([1.5] * 1000), np.arange(10).reshape(2, 5).flat,
            np.ma.array([1, 2], mask=[0, 1]), np.nditer(np.arange(3)), np.dtype("i4,O"),
            np.random.default_rng(1), np.frombuffer(b"12345678", dtype="i4"), np.add, np.float64(2)]


@on_request
def lxml():
    from lxml import etree
    root = etree.fromstring("<a>%s</a>" % "".join(
        f"<b i='{i}'>text {i}<c/></b>" for i in range(300)))
    made = list(root)
    return [root, made, [e.attrib for e in made[:50]], root.getroottree(), root.iter(),
            etree.XPath("//b[@i='3']"), etree.XMLParser(), etree.HTMLParser(),
            etree.fromstring("<r xmlns:x='y'><x:z/></r>").nsmap, root.xpath("//b/text()")[:20],
            etree.XSLT(etree.XML("<xsl:stylesheet version='1.0' "
                                 "xmlns:xsl='http://www.w3.org/1999/XSL/Transform'/>"))]


@on_request
def extensions():
    import greenlet
    import multidict
    import yaml

    def wait(value):
        local = [value]
        greenlet.getcurrent().parent.switch(local)

    waiting = []
    for i in range(10):
        waiting.append(greenlet.greenlet(wait))
        waiting[-1].switch((i,))
    dicts = [multidict.MultiDict(a=object(), b=[i]) for i in range(50)]
    return [waiting, dicts, [multidict.CIMultiDict(d) for d in dicts[:5]],
            [multidict.MultiDictProxy(d) for d in dicts[:5]], dicts[0].keys(), dicts[0].values(),
            multidict.istr("Name"), yaml.safe_load("a: [1, {b: c}]"), yaml.SafeLoader("x: 1")]


@on_request
def django():
    """A site that serves some requests, with sessions and a cache that grows."""
    from django.conf import settings
    settings.configure(
        DEBUG=False, SECRET_KEY="secret", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}])
    import django as package
    package.setup()
    from django.core.management import call_command
    call_command("migrate", verbosity=0, run_syncdb=True)
    from django.contrib.auth.models import User
    User.objects.bulk_create(User(username=f"user{i}") for i in range(200))
    from django.test import Client
    client = Client()
    answers = [client.get(f"/users/{i}/") for i in range(100)]
    assert all(a.status_code == 200 for a in answers)
    return [client, answers, list(User.objects.all()), User.objects.filter(id__gt=5)]


def show_user(request, number):
    from django.contrib.auth.models import User
    from django.http import HttpResponse
    from django.template import engines
    seen = request.session.setdefault("seen", [])
    seen.append(number)
    request.session.modified = True
    page = engines["django"].from_string("{% for u in users %}<p>{{ u.username|upper }}</p>{% endfor %}")
    return HttpResponse(page.render({"users": User.objects.filter(id__lte=number)}))


def __getattr__(name):
    if name == "urlpatterns":
        from django.urls import path
        return [path("users/<int:number>/", show_user)]
    raise AttributeError(name)


@on_request
def sphinx():
    """A manual that has just been built: its environment, doctrees and registries."""
    # Debian's docutils wants its LaTeX files under /usr/share.
    latex = types.ModuleType("docutils.writers.latex2e")
    latex.Babel = type("Babel", (), {"language_codes": {}, "warn_msg": ""})
    sys.modules[latex.__name__] = latex
    from sphinx.application import Sphinx
    source = tempfile.mkdtemp()
    try:
        with open(os.path.join(source, "conf.py"), "w") as f:
            f.write("extensions = ['sphinx.ext.autodoc']\nproject = 'manual'\n")
        for name in ["index"] + [f"chapter{i}" for i in range(10)]:
            with open(os.path.join(source, name + ".rst"), "w") as f:
                f.write(f"{name}\n{'=' * len(name)}\n\n.. _{name}-label:\n\nSome *text* of "
                        f"``{name}``.\n\n.. py:function:: {name}(a, b=1)\n\n   Does it.\n\n"
                        f"Part\n----\n\n- one\n- :py:func:`{name}`\n")
        application = Sphinx(source, source, os.path.join(source, "_out"),
                             os.path.join(source, "_trees"), "dummy", status=io.StringIO(),
                             warning=io.StringIO())
        application.build()
        return [application, application.env.get_doctree("index")]
    finally:
        shutil.rmtree(source)
