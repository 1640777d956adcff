// node-postgres: pools, named statements, cursors, streams, LISTEN, cancel by timeout.
'use strict'
const { Client, Pool, types } = require('pg')
const Cursor = require('pg-cursor')
const QueryStream = require('pg-query-stream')
const { url, say, refused, running, main } = require('./say.js')

types.setTypeParser(20, BigInt)

main(async () => {
  const pool = new Pool({ connectionString: url, max: 5, application_name: 'node script' })
  await pool.query('DROP TABLE IF EXISTS node_items')
  await pool.query('CREATE TABLE node_items (id serial PRIMARY KEY, body jsonb, tags text[], at timestamptz, raw bytea)')
  await Promise.all(Array.from({ length: 60 }, (_, n) => pool.query(
    'INSERT INTO node_items (body, tags, at, raw) VALUES ($1, $2, $3, $4)',
    [{ n, deep: [null, 'é'] }, ['a', null, 'b,c'], new Date(0), Buffer.from([0, 255])])))
  say('count', (await pool.query('SELECT count(*), count(DISTINCT body) AS bodies FROM node_items')).rows)
  const client = await pool.connect()
  const notices = []
  client.on('notice', notice => notices.push([notice.severity, notice.message]))

  const typed = await client.query({
    text: 'SELECT $1::int8 AS a, $2::numeric AS b, $3::bool AS c, $4::float8 AS d, $5::int[] AS e, NULL AS f, ' +
      "'infinity'::timestamptz AS g, '{\"x\": 1}'::json AS h, point(1, 2) AS i, '1 day 2 hours'::interval AS j",
    values: ['9007199254740993', '1.50', true, 1.25, [[1, 2], [3, 4]]]
  })
  say('types', typed.rows, typed.fields.map(field => [field.name, field.dataTypeID, field.format]), typed.command)
  say('array mode', (await client.query({ text: 'SELECT 1, 2', rowMode: 'array' })).rows)
  for (let n = 1; n <= 12; n++) {
    const named = { name: 'by-id', text: 'SELECT tags, raw FROM node_items WHERE id = $1', values: [n] }
    say('named', (await client.query(named)).rows)
  }
  await refused('name taken', () => client.query({ name: 'by-id', text: 'SELECT 2' }))
  say('several', (await client.query('SELECT 1 AS one; SELECT 2 AS two; CREATE TEMP TABLE x (a int)')).map(r => [r.command, r.rows]))
  for (let n = 0; n < 3; n++) {
    await refused('division', () => client.query('SELECT 1/$1::int', [0]))
    await refused('type', () => client.query('SELECT $1::int', ['x']))
    await refused('syntax', () => client.query('SELEC'))
    await refused('parameters', () => client.query('SELECT $1::int, $2::int', [1]))
  }
  await client.query('BEGIN')
  await client.query('DELETE FROM node_items')
  await refused('in transaction', () => client.query('INSERT INTO node_items (id) VALUES (1), (1)'))
  await refused('aborted', () => client.query('SELECT 1'))
  await client.query('ROLLBACK')
  const large = 'ü'.repeat(3 << 20)
  say('large', (await client.query('SELECT $1::text AS x', [large])).rows[0].x === large)
  await client.query("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$")
  say('notices', notices)
  // Sent without waiting: node-postgres queues them.
  say('queued', (await Promise.all(Array.from({ length: 40 }, (_, n) => client.query('SELECT $1::int AS n', [n])))).map(r => r.rows[0].n))

  // Cursors and streams: Execute with a limit, Flush between.
  const cursor = client.query(new Cursor('SELECT * FROM generate_series(1, $1::int) n', [100]))
  say('cursor', await cursor.read(3), (await cursor.read(90)).length, await cursor.read(100), await cursor.read(5))
  await cursor.close()
  const left = client.query(new Cursor('SELECT * FROM generate_series(1, 100000) n'))
  say('left', await left.read(2))
  await left.close()
  const broken = client.query(new Cursor('SELECT 1 / (5 - n) FROM generate_series(1, 9) n'))
  say('before', await broken.read(3))
  await refused('cursor', () => broken.read(10))
  let sum = 0
  for await (const row of client.query(new QueryStream('SELECT n FROM generate_series(1, $1::int) n', [5000], { batchSize: 70 }))) sum += row.n
  say('stream', sum)
  for await (const row of client.query(new QueryStream('SELECT n FROM generate_series(1, 100000) n'))) {
    if (row.n === 10) break
  }
  say('after a stream that was left', (await client.query('SELECT 1 AS x')).rows)
  client.release()

  const listener = new Client({ connectionString: url })
  await listener.connect()
  const heard = []
  const all = new Promise(resolve => listener.on('notification', message => {
    heard.push([message.channel, message.payload])
    if (heard.length === 3) resolve()
  }))
  await listener.query('LISTEN node_news')
  for (let n = 0; n < 3; n++) await pool.query('SELECT pg_notify($1, $2)', ['node_news', `${n}`])
  await all
  say('heard', heard)
  await listener.query("SET statement_timeout = '40ms'")
  await refused('timeout', () => listener.query('SELECT pg_sleep(30)'))
  await listener.query('RESET statement_timeout')
  const pid = (await listener.query('SELECT pg_backend_pid() AS pid')).rows[0].pid
  const ended = new Promise(resolve => listener.on('error', error => { heard.push(error.code || error.message) }).on('end', resolve))
  const sleeping = refused('terminated', () => listener.query('SELECT pg_sleep(53)'))
  await running(async (text, pattern) => (await pool.query(text, [pattern])).rows[0].n, 'SELECT pg_sleep(53)%')
  await pool.query('SELECT pg_terminate_backend($1)', [pid])
  await sleeping
  await ended
  const limited = new Pool({ connectionString: url, max: 1, statement_timeout: 30, query_timeout: 20000 })
  await refused('start-up timeout', () => limited.query('SELECT pg_sleep(30)'))
  say('goes on', (await limited.query('SHOW statement_timeout')).rows)
  await limited.end()
  await pool.query('DROP TABLE node_items')
  await pool.end()
})
