// knex: migrations with their lock table, schema builder, transactions, streams, batches.
'use strict'
const knexOf = require('knex')
const { url, say, refused, main } = require('./say.js')

// Migrations without files.
const steps = {
  first: {
    up: k => k.schema.createTable('kx_users', table => {
      table.increments()
      table.string('name', 40).notNullable().unique()
      table.jsonb('profile')
      table.specificType('tags', 'text[]')
      table.enu('mood', ['sad', 'ok'], { useNative: true, enumName: 'kx_mood' })
      table.timestamp('at').defaultTo(k.raw("'epoch'::timestamptz"))
    }),
    down: k => k.schema.dropTable('kx_users').raw('DROP TYPE kx_mood')
  },
  second: {
    up: k => k.schema.createTable('kx_posts', table => {
      table.bigInteger('id').primary()
      table.integer('user_id').references('kx_users.id').onDelete('CASCADE').index()
      table.decimal('price', 10, 2)
    }).alterTable('kx_users', table => table.integer('age').defaultTo(7)),
    down: k => k.schema.dropTable('kx_posts').alterTable('kx_users', table => table.dropColumn('age'))
  }
}
const migrationSource = {
  getMigrations: async () => Object.keys(steps), getMigrationName: name => name, getMigration: async name => steps[name]
}

main(async () => {
  const knex = knexOf({ client: 'pg', connection: url, pool: { min: 0, max: 4 }, searchPath: ['public'], migrations: { migrationSource } })
  await knex.raw('DROP TABLE IF EXISTS kx_posts, kx_users, knex_migrations, knex_migrations_lock; DROP TYPE IF EXISTS kx_mood')
  say('migrated', await knex.migrate.latest())
  say('again', await knex.migrate.latest())
  say('listed', (await knex.migrate.list()).map(names => names.map(name => name.name || name)))
  say('columns', await knex('kx_users').columnInfo())
  const users = await knex('kx_users').insert(Array.from({ length: 10 }, (_, n) => ({
    name: `user ${n}`, profile: { n, deep: [null, 'é'] }, tags: ['a', 'b,c'], mood: n % 2 ? 'ok' : 'sad'
  }))).returning('*')
  say('users', users)
  await knex.batchInsert('kx_posts', Array.from({ length: 700 }, (_, id) => ({ id, user_id: users[id % 10].id, price: id / 4 })), 100)
  say('joined', await knex('kx_users as u').join('kx_posts as p', 'p.user_id', 'u.id').where('u.id', '>', 7)
    .groupBy('u.name').orderBy('u.name').select('u.name').sum('p.price as total').count('*'))
  say('json', await knex('kx_users').whereRaw("profile->>'n' = ?", ['3']).whereRaw('tags @> ?', [['a']]).select('name'))
  say('upsert', await knex('kx_users').insert({ name: 'user 1', age: 9 }).onConflict('name').merge().returning(['name', 'age']))
  let sum = 0
  for await (const row of knex('kx_posts').select('id').stream({ batchSize: 50 })) sum += Number(row.id)
  say('streamed', sum)
  await refused('unique', () => knex('kx_users').insert({ name: 'user 1' }))
  await refused('transaction', () => knex.transaction(async trx => {
    await trx('kx_posts').del()
    await refused('savepoint', () => trx.transaction(inner => inner.raw('SELECT 1/0')))
    say('inside', await trx('kx_posts').count())
    await trx('kx_users').insert({ name: 'user 2' })
  }, { isolationLevel: 'repeatable read' }))
  await knex.transaction(async trx => {
    say('locked', await trx('kx_users').where('id', '<', 4).orderBy('id').forUpdate().skipLocked().pluck('id'))
    await trx('kx_posts').where('id', '>', 600).update({ price: 0 })
  })
  await refused('timeout', () => knex.raw('SELECT pg_sleep(51)').timeout(100, { cancel: true }))
  say('bindings', (await knex.raw('SELECT ?::int AS a, ?::text AS b', [1, 'x'])).rows)
  say('sum', await knex('kx_posts').sum('price as s').count('* as n').first())
  say('back', await knex.migrate.rollback(undefined, true))
  say('tables', (await knex.raw("SELECT tablename FROM pg_tables WHERE tablename ~ '^(kx|knex)_' ORDER BY 1")).rows)
  await knex.raw('DROP TABLE knex_migrations, knex_migrations_lock')
  await knex.destroy()
})
