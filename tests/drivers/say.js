// What node's scripts share: lines that are compared, and what must fail.
'use strict'
const assert = require('assert')

const plain = value => JSON.stringify(value, (key, inner) =>
  typeof inner === 'bigint' ? `${inner}n`
    : inner && inner.type === 'Buffer' ? Buffer.from(inner.data).toString('hex') : inner)

exports.url = process.env.DATABASE_URL
exports.say = (label, ...values) => console.log([label, ...values.map(plain)].join(' | '))

// Runs what must fail; notes SQLSTATE, message and whatever the driver tells of the server's fields.
exports.refused = async (label, call) => {
  try {
    await call()
  } catch (raised) {
    const error = raised.original || raised.cause || raised
    exports.say(label, error.code, error.message, error.severity, error.detail, error.routine)
    return
  }
  assert.fail(`${label}: it did not fail`)
}

// Waits until a statement like `pattern` runs. `count(text, parameter)` asks on another connection.
exports.running = async (count, pattern) => {
  const text = "SELECT count(*)::int AS n FROM pg_stat_activity WHERE state = 'active' " +
    'AND pid <> pg_backend_pid() AND query LIKE $1'
  const limit = Date.now() + 20000
  while (await count(text, pattern) !== 1) assert(Date.now() < limit, 'waited in vain')
}

exports.main = run => run().then(() => exports.say('well'))
  .catch(error => { console.log(error); console.error(error); process.exit(1) })
