// postgres.js: pipelines everything, fetches types of arrays, cursors, COPY streams, listen, cancel.
'use strict'
const postgres = require('postgres')
const { pipeline } = require('stream/promises')
const { Readable } = require('stream')
const { url, say, refused, running, main } = require('./say.js')

main(async () => {
  const notices = []
  const sql = postgres(url, { max: 4, onnotice: notice => notices.push(notice.message), connection: { application_name: 'postgres.js script' } })
  await sql`DROP TABLE IF EXISTS js_items`
  await sql`CREATE TABLE js_items (id int PRIMARY KEY, body jsonb, tags text[], at timestamptz, raw bytea, n numeric)`
  const items = Array.from({ length: 50 }, (_, id) => ({ id, body: { id, deep: [null, 'é'] }, tags: ['a', 'b,c'], at: new Date(0), raw: Buffer.from([0, 255]), n: '1.50' }))
  const made = await sql`INSERT INTO js_items ${sql(items)} RETURNING id, body, tags, at, raw, n`
  say('made', made.count, made.command, made.columns.map(c => [c.name, c.type]), made.slice(0, 2))
  say('dynamic', await sql`SELECT ${sql(['id', 'tags'])} FROM ${sql('js_items')} WHERE id IN ${sql([1, 2, 3])} AND ${sql`tags @> ${['a']}`} ORDER BY id`)
  say('pipeline', (await Promise.all(Array.from({ length: 300 }, (_, n) => sql`SELECT ${n}::int AS n`))).map(rows => rows[0].n).reduce((a, b) => a + b))
  for (let n = 0; n < 8; n++) say('prepared', await sql`SELECT body->'id' AS x FROM js_items WHERE id = ${n}`)
  say('values', await sql`SELECT ${'x'}::text AS a, ${2.5}::float8 AS b, ${true}::bool AS c, ${null}::int AS d, ${sql.json({ z: 1 })} AS e, ${[1, 2, 3]}::int[] AS f`.values())
  say('simple', (await sql`SELECT 1 AS a; SELECT 2 AS b`.simple()).map(rows => rows[0]))
  say('described', (await sql`SELECT id FROM js_items WHERE id = ${1}`.describe()).columns.map(c => c.name))
  for (let n = 0; n < 3; n++) {
    await refused('division', () => sql`SELECT 1/${0}::int`)
    await refused('unique', () => sql`INSERT INTO js_items (id) VALUES (1)`)
    await refused('syntax', () => sql`SELEC`)
  }
  await refused('transaction', () => sql.begin(async tx => {
    await tx`DELETE FROM js_items`
    await refused('savepoint', () => tx.savepoint(inner => inner`SELECT 1/0`))
    say('inside', await tx`SELECT count(*)::int FROM js_items`)
    await Promise.all([tx`SELECT 1`, tx`SELECT 2`, tx`INSERT INTO js_items (id) VALUES (1), (1)`])
  }))
  await sql.begin('isolation level serializable read only', async tx => say('isolation', await tx`SHOW transaction_isolation`))
  say('still', await sql`SELECT count(*)::int FROM js_items`)

  let sum = 0
  await sql`SELECT n FROM generate_series(1, 1000) n`.cursor(33, rows => { for (const row of rows) sum += row.n })
  for await (const [row] of sql`SELECT n FROM generate_series(1, 100) n`.cursor()) {
    sum += row.n
    if (row.n === 5) break
  }
  await sql`SELECT n FROM generate_series(1, 500) n`.forEach(row => { sum += row.n })
  say('cursors', sum)
  const large = 'ü'.repeat(2 << 20)
  say('large', (await sql`SELECT ${large}::text AS x`)[0].x === large)

  // On clients of their own: postgres.js 3.4 does not use a connection again after COPY IN by Parse, and one whose COPY OUT
  // ended while its stream was full stays paused for good, at the server itself too.
  const copier = postgres(url, { max: 1 })
  await pipeline(Readable.from(Array.from({ length: 3000 }, (_, n) => `${n + 1000}\t{"copied": 1}\n`)),
    await copier`COPY js_items (id, body) FROM STDIN`.writable())
  await copier.end({ timeout: 1 })
  const reader = postgres(url, { max: 1 })
  let bytes = 0
  for await (const block of await reader`COPY (SELECT id, body FROM js_items ORDER BY id) TO STDOUT`.readable()) bytes += block.length
  await reader.end({ timeout: 1 })
  say('copy', bytes, await sql`SELECT count(*)::int FROM js_items`)

  const heard = []
  let all
  const three = new Promise(resolve => { all = resolve })
  const { unlisten } = await sql.listen('js_news', payload => { heard.push(payload); if (heard.length === 3) all() })
  for (let n = 0; n < 3; n++) await sql.notify('js_news', `${n}`)
  await three
  await unlisten()
  say('heard', heard)

  const sleeping = sql`SELECT pg_sleep(52)`
  const failed = refused('cancelled', () => sleeping)
  await running(async (text, pattern) => (await sql.unsafe(text, [pattern]))[0].n, 'SELECT pg_sleep(52)%')
  sleeping.cancel()
  await failed
  const reserved = await sql.reserve()
  await reserved`SET statement_timeout = 40`
  await refused('timeout', () => reserved`SELECT pg_sleep(30)`)
  await reserved`RESET statement_timeout`
  reserved.release()
  await sql`DO $$ BEGIN RAISE NOTICE 'a notice'; END $$`
  say('notices', notices)
  await sql.unsafe('DROP TABLE js_items; SELECT 1')
  await sql.end()
})
