// node-postgres through DATABASE_URL: prints "well" or the first thing that is not.
'use strict'
const assert = require('assert')
const { Client, Pool } = require('pg')

async function main () {
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 5 })
  await pool.query('CREATE TABLE node_items (id serial PRIMARY KEY, body jsonb, at timestamptz)')
  await Promise.all(Array.from({ length: 50 }, (_, n) =>
    pool.query('INSERT INTO node_items (body, at) VALUES ($1, now())', [{ n }])))
  const { rows } = await pool.query('SELECT count(*)::int AS count FROM node_items')
  assert.strictEqual(rows[0].count, 50)

  const client = await pool.connect()
  await client.query('BEGIN')
  await client.query('DELETE FROM node_items')
  await client.query('ROLLBACK')
  for (let n = 1; n <= 20; n++) {
    const named = { name: 'by-id', text: 'SELECT body FROM node_items WHERE id = $1', values: [n] }
    assert.strictEqual((await client.query(named)).rows.length, 1)
  }
  await assert.rejects(client.query('SELECT 1/0'), { code: '22012' })
  await assert.rejects(client.query('SELECT $1::int', ['x']), { code: '22P02' })
  assert.strictEqual((await client.query('SELECT 1 AS one; SELECT 2 AS two'))[1].rows[0].two, 2)
  const big = 'x'.repeat(3 << 20)
  assert.strictEqual((await client.query('SELECT $1::text AS big', [big])).rows[0].big, big)
  client.release()
  await pool.end()

  const listener = new Client({ connectionString: process.env.DATABASE_URL })
  await listener.connect()
  const heard = new Promise(resolve => listener.on('notification', resolve))
  await listener.query('LISTEN news')
  await listener.query("NOTIFY news, 'hello'")
  assert.strictEqual((await heard).payload, 'hello')
  await listener.query('DROP TABLE node_items')
  await listener.end()
  console.log('well')
}

main().catch(error => { console.error(error); process.exit(1) })
