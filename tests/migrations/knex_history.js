// knex.migrate with a source in memory: latest, rollback, up, latest.
const knex = require("knex")({ client: "pg", connection: process.env.DATABASE_URL, pool: { min: 0, max: 2 } });

const steps = {
  "01_users": {
    up: async (k) => {
      await k.schema.createTable("users_k", (t) => {
        t.increments(); t.string("login", 60).notNullable(); t.timestamps(true, true); t.boolean("active").defaultTo(true);
      });
      await k("users_k").insert(Array.from({ length: 200 }, (_, n) => ({ login: `user ${n}` })));
    },
    down: (k) => k.schema.dropTable("users_k"),
  },
  "02_posts": {
    up: (k) => k.schema.createTable("posts", (t) => {
      t.bigIncrements("id"); t.integer("user_id").references("id").inTable("users_k").onDelete("CASCADE").index();
      t.text("body"); t.jsonb("meta").notNullable().defaultTo("{}"); t.enu("state", ["draft", "out"], { useNative: true, enumName: "post_state" });
      t.unique(["user_id", "body"]);
    }).then(() => k.raw("INSERT INTO posts (user_id, body, state) SELECT 1 + n % 200, 'post ' || n, 'out' FROM generate_series(1, 500) n")),
    down: (k) => k.schema.dropTable("posts").raw("DROP TYPE post_state"),
  },
  "03_email": {
    up: async (k) => {
      await k.schema.alterTable("users_k", (t) => { t.string("email"); t.uuid("token").defaultTo(k.raw("gen_random_uuid()")); });
      await k("users_k").update({ email: k.raw("replace(login, ' ', '') || '@example.org'") });
      await k.schema.alterTable("users_k", (t) => { t.string("email").notNullable().alter(); t.unique("email", { indexName: "one_email" }); });
    },
    down: (k) => k.schema.alterTable("users_k", (t) => { t.dropColumns("email", "token"); }),
  },
  "04_names": {
    up: (k) => k.schema.alterTable("users_k", (t) => { t.renameColumn("login", "handle"); t.dropTimestamps(); })
      .alterTable("users_k", (t) => { t.text("handle").alter(); })
      .renameTable("posts", "articles").raw("ALTER TYPE post_state RENAME TO article_state"),
    down: (k) => k.schema.raw("ALTER TYPE article_state RENAME TO post_state").renameTable("articles", "posts")
      .alterTable("users_k", (t) => { t.renameColumn("handle", "login"); t.timestamps(true, true); }),
  },
  "05_concurrently": {
    config: { transaction: false },
    up: (k) => k.raw("CREATE INDEX CONCURRENTLY articles_meta ON articles USING gin (meta)")
      .then(() => k.raw("ALTER TYPE article_state ADD VALUE IF NOT EXISTS 'gone'")).then(() => k("articles").where("id", "<", 50).update({ state: "gone" })),
    down: (k) => k.raw("DROP INDEX CONCURRENTLY articles_meta"),
  },
  "06_split": {
    up: async (k) => {
      await k.schema.createTable("bodies", (t) => { t.bigInteger("article").primary().references("articles.id"); t.text("body"); });
      await k.raw("INSERT INTO bodies SELECT id, body FROM articles");
      await k.schema.alterTable("articles", (t) => { t.dropUnique(["user_id", "body"], "posts_user_id_body_unique"); t.dropColumn("body"); });
      await k.raw("CREATE VIEW whole AS SELECT a.id, b.body FROM articles a JOIN bodies b ON b.article = a.id");
    },
    down: async (k) => {
      await k.raw("DROP VIEW whole");
      await k.schema.alterTable("articles", (t) => { t.text("body"); });
      await k.raw("UPDATE articles a SET body = b.body FROM bodies b WHERE b.article = a.id");
      await k.schema.alterTable("articles", (t) => { t.unique(["user_id", "body"], { indexName: "posts_user_id_body_unique" }); });
      await k.schema.dropTable("bodies");
    },
  },
};

const migrationSource = {
  getMigrations: async () => Object.keys(steps),
  getMigrationName: (name) => name,
  getMigration: async (name) => steps[name],
};

(async () => {
  const config = { migrationSource };
  for (const verb of ["up", "latest", "down", "down", "up", "latest", "rollback", "latest"]) console.log(verb, (await knex.migrate[verb](config))[1]);
  await knex.destroy();
})().catch((error) => { console.error(error); process.exit(1); });
