"""Django's ORM: migrations written and run, models, transactions, server-side cursors, inspection."""

import datetime
import decimal
import io
import sys
import tempfile
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import django
from django.conf import settings

from say import URL, say

parts = urlsplit(URL)
settings.configure(
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:], "USER": parts.username,
        "PASSWORD": parts.password, "HOST": parts.hostname, "PORT": parts.port, "CONN_MAX_AGE": 60,
        "OPTIONS": {"application_name": "django script"}}},
    INSTALLED_APPS=["shelf", "django.contrib.contenttypes", "django.contrib.auth", "django.contrib.postgres"],
    USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", SECRET_KEY="of the test")

# An app of its own in a temporary directory, so that makemigrations can write there.
directory = tempfile.TemporaryDirectory()
(Path(directory.name) / "shelf" / "migrations").mkdir(parents=True)
for name in ("shelf/__init__.py", "shelf/migrations/__init__.py"):
    (Path(directory.name) / name).touch()
(Path(directory.name) / "shelf" / "models.py").write_text('''
from django.contrib.postgres.fields import ArrayField, IntegerRangeField
from django.db import models

class Author(models.Model):
    name = models.CharField(max_length=40, unique=True)
    tags = ArrayField(models.TextField(), default=list)
    profile = models.JSONField(default=dict)
    ages = IntegerRangeField(null=True)

class Book(models.Model):
    key = models.UUIDField(primary_key=True)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    title = models.TextField(db_index=True)
    price = models.DecimalField(max_digits=10, decimal_places=2, null=True)
    at = models.DateTimeField()
    cover = models.BinaryField(default=b"")
    class Meta:
        constraints = [models.CheckConstraint(check=models.Q(price__gte=0), name="price_positive")]
''')
sys.path.insert(0, directory.name)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import DatabaseError, connection, models, transaction  # noqa: E402
from django.db.models import Count, F, Sum  # noqa: E402
from shelf.models import Author, Book  # noqa: E402


def refused(label, call):
    try:
        with transaction.atomic():
            call()
    except DatabaseError as error:
        say(label, type(error).__name__, error.__cause__.pgcode, str(error).strip())
        return
    raise AssertionError(label)


def clear():
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(format('%I', tablename), ', ') FROM pg_tables WHERE schemaname = 'public' "
                       "AND tablename ~ '^(shelf|django|auth)_'")
        (tables,) = cursor.fetchone()
        if tables:
            cursor.execute(f"DROP TABLE {tables} CASCADE")


clear()
said = io.StringIO()
call_command("makemigrations", "shelf", stdout=said, verbosity=1, no_color=True)
call_command("migrate", stdout=said, verbosity=1, no_color=True)
call_command("showmigrations", stdout=said, no_color=True)
call_command("migrate", stdout=said, verbosity=0)
say("migrations", [line for line in said.getvalue().splitlines() if directory.name not in line])
with connection.cursor() as cursor:
    for table in ("shelf_author", "shelf_book"):
        say(table, connection.introspection.get_table_description(cursor, table),
            sorted(connection.introspection.get_constraints(cursor, table)))
call_command("inspectdb", "shelf_book", stdout=said)
say("inspected", said.getvalue().splitlines()[-20:])

at = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)
authors = [Author.objects.create(name=f"author {n}", tags=["a", "b,c"], profile={"n": n, "deep": [None, "é"]},
                                 ages=(n, n + 10)) for n in range(10)]
Book.objects.bulk_create([Book(key=uuid.UUID(int=n), author=authors[n % 10], title=f"title {n}", at=at,
                               price=decimal.Decimal(n) / 4, cover=b"\0\xff") for n in range(1000)], batch_size=150)
say("counted", list(Author.objects.annotate(n=Count("books"), s=Sum("books__price")).order_by("id").values_list("name", "n", "s")))
say("filtered", list(Author.objects.filter(tags__contains=["a"], profile__n__gte=8).values("name", "profile", "tags")))
say("ranges", [str(author.ages) for author in Author.objects.filter(ages__contains=5).order_by("id")])
say("joined", list(Book.objects.select_related("author").filter(title__startswith="title 1").order_by("key")
                   .values_list("title", "author__name")[:5]))
say("iterated", sum(1 for _ in Book.objects.order_by("key").iterator(chunk_size=70)))  # A cursor of the server.
Book.objects.filter(price__lt=10).update(price=F("price") + 1)
book, created = Book.objects.update_or_create(key=uuid.UUID(int=3), defaults={"title": "renamed"})
say("updated", created, book.title, Book.objects.aggregate(Sum("price")))
refused("unique", lambda: Author.objects.create(name="author 1"))
refused("check", lambda: Book.objects.update(price=-1))
refused("syntax", lambda: connection.cursor().execute("SELEC"))
with transaction.atomic():
    locked = Author.objects.select_for_update(of=("self",), skip_locked=True).get(name="author 2")
    locked.name = "locked"
    locked.save()
    try:
        with transaction.atomic():
            Book.objects.all().delete()
            raise ValueError("undone")
    except ValueError:
        pass
    hooked = []
    transaction.on_commit(lambda: hooked.append("committed"))
say("hooked", hooked, Book.objects.count())
say("deleted", Author.objects.get(name="locked").delete())
say("raw", [book.title for book in Book.objects.raw("SELECT * FROM shelf_book WHERE price > %s ORDER BY key LIMIT 3", [200])])
say("explained", "Scan" in Book.objects.filter(title="x").explain())
class Added(models.Model):
    body = models.TextField(null=True)

    class Meta:
        app_label = "shelf"


with connection.schema_editor() as editor:
    editor.create_model(Added)
    extra = models.IntegerField(default=7)
    extra.set_attributes_from_name("extra")
    editor.add_field(Added, extra)
    editor.delete_model(Added)
connection.close()  # It comes back by itself.
say("reconnected", Book.objects.count())
call_command("migrate", "shelf", "zero", stdout=said, verbosity=0)
clear()
connection.close()
say("well")
