// drizzle-orm on node-postgres and on postgres.js: migrations, relations, prepared queries.
'use strict'
const fs = require('fs')
const os = require('os')
const path = require('path')
const { Pool } = require('pg')
const postgres = require('postgres')
const { relations, sql, eq, gt, desc } = require('drizzle-orm')
const pg = require('drizzle-orm/pg-core')
const nodePostgres = require('drizzle-orm/node-postgres')
const postgresJs = require('drizzle-orm/postgres-js')
const { url, say, refused, main } = require('./say.js')

const mood = pg.pgEnum('dz_mood', ['sad', 'ok'])
const users = pg.pgTable('dz_users', {
  id: pg.serial('id').primaryKey(),
  name: pg.text('name').notNull().unique(),
  mood: mood('mood'),
  tags: pg.text('tags').array(),
  profile: pg.jsonb('profile'),
  at: pg.timestamp('at', { withTimezone: true })
})
const posts = pg.pgTable('dz_posts', {
  id: pg.bigint('id', { mode: 'number' }).primaryKey(),
  userId: pg.integer('user_id').references(() => users.id),
  price: pg.numeric('price', { precision: 10, scale: 2 })
})
const schema = {
  users,
  posts,
  userRelations: relations(users, ({ many }) => ({ posts: many(posts) })),
  postRelations: relations(posts, ({ one }) => ({ user: one(users, { fields: [posts.userId], references: [users.id] }) }))
}

// As drizzle-kit writes them; DO blocks with EXCEPTION as its older versions did.
function migrations () {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dz-'))
  fs.mkdirSync(path.join(folder, 'meta'))
  const steps = [
    "DO $$ BEGIN CREATE TYPE dz_mood AS ENUM ('sad', 'ok'); EXCEPTION WHEN duplicate_object THEN null; END $$;\n--> statement-breakpoint\n" +
    'CREATE TABLE IF NOT EXISTS dz_users (id serial PRIMARY KEY, name text NOT NULL UNIQUE, mood dz_mood, tags text[], profile jsonb, at timestamptz);',
    'CREATE TABLE dz_posts (id bigint PRIMARY KEY, user_id int, price numeric(10, 2));\n--> statement-breakpoint\n' +
    'DO $$ BEGIN ALTER TABLE dz_posts ADD CONSTRAINT fk FOREIGN KEY (user_id) REFERENCES dz_users (id); EXCEPTION WHEN duplicate_object THEN null; END $$;'
  ]
  steps.forEach((step, n) => fs.writeFileSync(path.join(folder, `000${n}_step.sql`), step))
  fs.writeFileSync(path.join(folder, 'meta', '_journal.json'), JSON.stringify({
    version: '7',
    dialect: 'postgresql',
    entries: steps.map((_, idx) => ({ idx, version: '7', when: 1700000000000 + idx, tag: `000${idx}_step`, breakpoints: true }))
  }))
  return folder
}

async function play (name, db, migrate) {
  await db.execute(sql`DROP SCHEMA IF EXISTS drizzle CASCADE`)
  await db.execute(sql`DROP TABLE IF EXISTS dz_posts, dz_users`)
  await db.execute(sql`DROP TYPE IF EXISTS dz_mood`)
  const migrationsFolder = migrations()
  await migrate(db, { migrationsFolder })
  await migrate(db, { migrationsFolder }) // Nothing is left to do.
  fs.rmSync(migrationsFolder, { recursive: true })
  const made = await db.insert(users).values(Array.from({ length: 10 }, (_, n) => (
    { name: `user ${n}`, mood: n % 2 ? 'ok' : 'sad', tags: ['a', 'b,c'], profile: { n }, at: new Date(0) }))).returning()
  say(name, made)
  await db.insert(posts).values(Array.from({ length: 200 }, (_, id) => ({ id, userId: id % 10 + 1, price: `${id}.50` })))
  say('joined', await db.select({ name: users.name, total: sql`sum(${posts.price})` }).from(users)
    .leftJoin(posts, eq(users.id, posts.userId)).where(gt(users.id, 7)).groupBy(users.id).orderBy(desc(users.id)))
  say('related', await db.query.users.findMany({ with: { posts: { limit: 2, orderBy: posts.id } }, limit: 2, orderBy: users.id }))
  const prepared = db.select().from(users).where(eq(users.id, sql.placeholder('id'))).prepare('dz_by_id')
  for (let id = 1; id <= 10; id++) say('prepared', await prepared.execute({ id }))
  say('upsert', await db.insert(users).values({ name: 'user 1' }).onConflictDoUpdate({ target: users.name, set: { tags: ['new'] } }).returning())
  await refused('transaction', () => db.transaction(async tx => {
    await tx.delete(posts)
    await refused('nested', () => tx.transaction(async inner => { await inner.insert(users).values({ name: 'user 2' }) }))
    say('inside', await tx.select({ n: sql`count(*)::int` }).from(posts))
    await tx.insert(users).values({ name: 'user 3' })
  }))
  await db.transaction(async tx => tx.update(posts).set({ price: '0' }).where(gt(posts.id, 100)), { isolationLevel: 'serializable' })
  say('sum', await db.select({ s: sql`sum(price)`, n: sql`count(*)::int` }).from(posts))
  await db.execute(sql`DROP TABLE dz_posts, dz_users`)
  await db.execute(sql`DROP TYPE dz_mood`)
  await db.execute(sql`DROP SCHEMA drizzle CASCADE`)
}

main(async () => {
  const pool = new Pool({ connectionString: url, max: 3 })
  await play('node-postgres', nodePostgres.drizzle(pool, { schema }), require('drizzle-orm/node-postgres/migrator').migrate)
  await pool.end()
  const client = postgres(url, { max: 3, onnotice: () => {} })
  await play('postgres.js', postgresJs.drizzle(client, { schema }), require('drizzle-orm/postgres-js/migrator').migrate)
  await client.end()
})
