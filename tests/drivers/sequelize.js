// sequelize: sync, associations, managed transactions, bulk work, enums, arrays, alter.
'use strict'
const { Sequelize, DataTypes, Op } = require('sequelize')
const { url, say, refused, main } = require('./say.js')

main(async () => {
  const sequelize = new Sequelize(url, { logging: false, pool: { max: 4 } })
  await sequelize.authenticate()
  const Author = sequelize.define('author', {
    name: { type: DataTypes.STRING(40), unique: true, allowNull: false },
    mood: DataTypes.ENUM('sad', 'ok'),
    tags: DataTypes.ARRAY(DataTypes.TEXT),
    profile: DataTypes.JSONB,
    ages: DataTypes.RANGE(DataTypes.INTEGER),
    token: DataTypes.UUID
  }, { timestamps: false, tableName: 'sq_authors' })
  const Book = sequelize.define('book', {
    title: DataTypes.TEXT, price: DataTypes.DECIMAL(10, 2), at: DataTypes.DATE, cover: DataTypes.BLOB
  }, { timestamps: false, tableName: 'sq_books', indexes: [{ fields: ['title'] }] })
  Author.hasMany(Book, { onDelete: 'CASCADE' })
  Book.belongsTo(Author)
  await sequelize.query('DROP TABLE IF EXISTS sq_books, sq_authors')
  await sequelize.sync({ force: true })
  await sequelize.sync({ alter: true })
  say('described', await sequelize.getQueryInterface().describeTable('sq_authors'))
  const authors = await Author.bulkCreate(Array.from({ length: 10 }, (_, n) => ({
    name: `author ${n}`, mood: n % 2 ? 'ok' : 'sad', tags: ['a', 'b,c'], profile: { n, deep: [null, 'é'] }, ages: [n, n + 10],
    token: `00000000-0000-0000-0000-00000000000${n}`
  })), { returning: true })
  await Book.bulkCreate(Array.from({ length: 500 }, (_, n) => ({ title: `title ${n}`, price: n / 4, at: new Date(0), cover: Buffer.from([0, 255]), authorId: authors[n % 10].id })))
  say('found', (await Author.findAll({
    include: [{ model: Book, where: { price: { [Op.lt]: 10 } }, separate: true, order: ['id'], limit: 2 }],
    where: { profile: { n: { [Op.gte]: 7 } }, tags: { [Op.contains]: ['a'] } },
    order: ['id']
  })).map(author => author.toJSON()))
  say('counted', await Book.findAndCountAll({ where: { title: { [Op.like]: 'title 1%' } }, limit: 2, order: ['id'], raw: true }))
  say('updated', await Book.update({ price: 1 }, { where: { id: { [Op.lte]: 5 } }, returning: ['id', 'price'] }))
  say('upserted', (await Author.upsert({ id: 1, name: 'again' }))[0].name)
  say('found or made', (await Author.findOrCreate({ where: { name: 'new one' } })).map(x => x.name || x))
  await refused('unique', () => Author.create({ name: 'author 2' }))
  await refused('enum', () => sequelize.query("UPDATE sq_authors SET mood = 'angry'"))
  await refused('transaction', () => sequelize.transaction({ isolationLevel: 'SERIALIZABLE' }, async transaction => {
    await Book.destroy({ where: {}, transaction })
    await refused('savepoint', () => sequelize.transaction({ transaction }, inner => sequelize.query('SELECT 1/0', { transaction: inner })))
    say('inside', await Book.count({ transaction }))
    await Author.create({ name: 'author 2' }, { transaction })
  }))
  await sequelize.transaction(async transaction => {
    const locked = await Author.findByPk(2, { transaction, lock: transaction.LOCK.UPDATE, skipLocked: true })
    await locked.increment({ id: 1000 }, { transaction })
  })
  say('replaced', await sequelize.query('SELECT name FROM sq_authors WHERE id > :id ORDER BY id', { replacements: { id: 5 }, type: 'SELECT' }))
  for (let n = 0; n < 4; n++) say('bound', await sequelize.query('SELECT $1::int + $2::int AS n', { bind: [n, 1], type: 'SELECT' }))
  await sequelize.getQueryInterface().addColumn('sq_books', 'extra', { type: DataTypes.INTEGER, defaultValue: 7 })
  await sequelize.getQueryInterface().changeColumn('sq_books', 'extra', { type: DataTypes.BIGINT })
  say('indexes', (await sequelize.getQueryInterface().showIndex('sq_books')).map(index => [index.name, index.fields.map(f => f.attribute)]))
  say('sums', await Book.sum('price'), await Book.count(), await Author.max('id'))
  await sequelize.drop({})
  await sequelize.query('DROP TYPE IF EXISTS enum_sq_authors_mood')
  await sequelize.close()
})
