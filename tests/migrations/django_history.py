"""The migrations that Django brings along (auth, admin, sessions, sites, ...), and an app's own: forward, back, forward."""

import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import django
from django.conf import settings

MIGRATIONS = {
    "0001_initial": ([], '''
        migrations.CreateModel("Author", [("id", models.AutoField(primary_key=True)), ("name", models.CharField(max_length=40)),
            ("born", models.DateField(null=True))]),
        migrations.CreateModel("Book", [("id", models.BigAutoField(primary_key=True)), ("title", models.CharField(max_length=30)),
            ("author", models.ForeignKey(to="shelf.Author", on_delete=models.CASCADE, related_name="books")),
            ("price", models.IntegerField(default=1))]),
        migrations.RunPython(fill, migrations.RunPython.noop),'''),
    "0002_wider": (["0001_initial"], '''
        migrations.AlterField("Book", "title", models.TextField(db_index=True)),
        migrations.AlterField("Book", "price", models.DecimalField(max_digits=9, decimal_places=2, default=1)),
        migrations.AddField("Author", "slug", models.SlugField(null=True)),
        migrations.AddField("Book", "at", models.DateTimeField(auto_now_add=True, default=timezone.now)),'''),
    "0003_backfill": (["0002_wider"], '''
        migrations.RunPython(slugs, migrations.RunPython.noop),'''),
    "0004_required": (["0003_backfill"], '''
        migrations.AlterField("Author", "slug", models.SlugField(unique=True)),
        migrations.AddConstraint("Book", models.CheckConstraint(check=models.Q(price__gte=0), name="price_positive")),
        migrations.AddConstraint("Book", models.UniqueConstraint(fields=["author", "title"], name="one_title")),'''),
    "0005_tags": (["0004_required"], '''
        migrations.CreateModel("Tag", [("word", models.CharField(max_length=20, primary_key=True))]),
        migrations.AddField("Book", "tags", models.ManyToManyField(to="shelf.Tag")),
        migrations.AddField("Book", "meta", models.JSONField(default=dict)),
        migrations.RunPython(tag, migrations.RunPython.noop),'''),
    "0006_names": (["0005_tags"], '''
        migrations.RenameField("Author", "born", "birthday"),
        migrations.RenameModel("Book", "Work"),
        migrations.AlterModelTable("Author", "writers"),
        migrations.AlterUniqueTogether("Work", {("title", "at")}),'''),
    "0007_concurrently": (["0006_names"], '''
        AddIndexConcurrently("Work", models.Index(fields=["at", "price"], name="by_time")),
        migrations.RunSQL("CREATE INDEX CONCURRENTLY works_upper ON shelf_work (upper(title))", "DROP INDEX works_upper"),'''),
    "0008_keys": (["0007_concurrently"], '''
        migrations.AlterField("Author", "id", models.BigAutoField(primary_key=True)),
        migrations.AddField("Work", "key", models.UUIDField(default=uuid.uuid4, editable=False)),'''),
    "0009_filled": (["0008_keys"], '''
        migrations.RunPython(keys, migrations.RunPython.noop),'''),
    "0010_gone": (["0009_filled"], '''
        migrations.RemoveField("Work", "meta"),
        migrations.RunSQL("ALTER TABLE shelf_work ADD COLUMN long boolean GENERATED ALWAYS AS (length(title) > 6) STORED",
                          "ALTER TABLE shelf_work DROP COLUMN long"),'''),
}

HEAD = '''
import uuid
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.utils import timezone

def fill(apps, editor):
    Author, Book = apps.get_model("shelf", "Author"), apps.get_model("shelf", "Book")
    for n in range(40):
        author = Author.objects.create(name=f"author {n}")
        Book.objects.bulk_create([Book(title=f"title {n} {i}", author=author, price=i) for i in range(10)])

def slugs(apps, editor):
    for author in apps.get_model("shelf", "Author").objects.all():
        author.slug = author.name.replace(" ", "-")
        author.save()

def tag(apps, editor):
    Tag, Book = apps.get_model("shelf", "Tag"), apps.get_model("shelf", "Book")
    Tag.objects.bulk_create([Tag(word=word) for word in ("old", "new", "rare")])
    for book in Book.objects.filter(price__lt=3):
        book.tags.add("old", "rare")

def keys(apps, editor):
    for work in apps.get_model("shelf", "Work").objects.all():
        work.key = uuid.uuid4()
        work.save(update_fields=["key"])

class Migration(migrations.Migration):
    atomic = {atomic}
    dependencies = {dependencies}
    operations = [{operations}
    ]
'''

parts = urlsplit(os.environ["DATABASE_URL"])
CONTRIB = ["contenttypes", "auth", "admin", "sessions", "messages", "sites", "flatpages", "redirects"]
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": parts.path[1:], "USER": parts.username,
                           "PASSWORD": parts.password, "HOST": parts.hostname, "PORT": parts.port}},
    INSTALLED_APPS=["shelf", *(f"django.contrib.{name}" for name in CONTRIB)], USE_TZ=True, SITE_ID=1, SECRET_KEY="of the test",
    DEFAULT_AUTO_FIELD="django.db.models.AutoField")
directory = tempfile.TemporaryDirectory()
home = Path(directory.name) / "shelf" / "migrations"
home.mkdir(parents=True)
for made in (home / "__init__.py", home.parent / "__init__.py", home.parent / "models.py"):
    made.touch()
for name, (after, operations) in MIGRATIONS.items():
    text = HEAD.replace("{atomic}", str(name != "0007_concurrently")).replace("{operations}", operations)
    (home / f"{name}.py").write_text(text.replace("{dependencies}", str([("shelf", one) for one in after])))
sys.path.insert(0, directory.name)
django.setup()

from django.core.management import call_command  # noqa: E402

for arguments in ([], ["shelf", "0006"], ["auth", "0005"], ["shelf", "0003"], [], ["flatpages", "zero"], ["redirects", "zero"]):
    call_command("migrate", *arguments, verbosity=0)
    print("migrate", *arguments)
