// Sequelize's query interface, run by umzug as sequelize-cli does.
const { Sequelize, DataTypes } = require("sequelize");
const { Umzug, SequelizeStorage } = require("umzug");
const sequelize = new Sequelize(process.env.DATABASE_URL, { logging: false });

const migrations = [
  { name: "1-products",
    up: async ({ context: q }) => {
      await q.createTable("Products", {
        id: { type: DataTypes.INTEGER, primaryKey: true, autoIncrement: true }, name: { type: DataTypes.STRING, allowNull: false },
        price: DataTypes.FLOAT, kind: { type: DataTypes.ENUM("food", "tool"), defaultValue: "food" },
        createdAt: { type: DataTypes.DATE, defaultValue: Sequelize.literal("now()") } });
      await q.bulkInsert("Products", Array.from({ length: 150 }, (_, n) => ({ name: `product ${n}`, price: n / 8 })));
    },
    down: async ({ context: q }) => { await q.dropTable("Products"); await q.sequelize.query('DROP TYPE "enum_Products_kind"'); } },
  { name: "2-orders",
    up: async ({ context: q }) => {
      await q.createTable("Orders", {
        id: { type: DataTypes.UUID, primaryKey: true, defaultValue: Sequelize.literal("gen_random_uuid()") },
        productId: { type: DataTypes.INTEGER, references: { model: "Products", key: "id" }, onDelete: "CASCADE", onUpdate: "CASCADE" },
        count: { type: DataTypes.INTEGER, allowNull: false, defaultValue: 1 }, notes: DataTypes.ARRAY(DataTypes.TEXT) });
      await q.sequelize.query('INSERT INTO "Orders" ("productId", count) SELECT 1 + n % 150, n FROM generate_series(1, 400) n');
      await q.addIndex("Orders", ["productId", "count"]);
    },
    down: ({ context: q }) => q.dropTable("Orders") },
  { name: "3-money",
    up: async ({ context: q }) => {
      await q.changeColumn("Products", "price", { type: DataTypes.DECIMAL(10, 2), allowNull: true });
      await q.addColumn("Products", "sku", { type: DataTypes.STRING(20) });
      await q.sequelize.query(`UPDATE "Products" SET sku = 'sku-' || id`);
      await q.changeColumn("Products", "sku", { type: DataTypes.STRING(20), allowNull: false, unique: true });
      await q.addConstraint("Products", { fields: ["price"], type: "check", where: { price: { [Sequelize.Op.gte]: 0 } }, name: "price_not_negative" });
    },
    down: async ({ context: q }) => {
      await q.removeConstraint("Products", "price_not_negative"); await q.removeColumn("Products", "sku");
      await q.changeColumn("Products", "price", { type: DataTypes.FLOAT });
    } },
  { name: "4-kinds",
    up: async ({ context: q }) => {
      await q.changeColumn("Products", "kind", { type: DataTypes.ENUM("food", "tool", "book") });
      await q.renameColumn("Orders", "count", "quantity"); await q.renameTable("Orders", "Purchases");
      await q.addColumn("Purchases", "serial", { type: DataTypes.INTEGER, autoIncrement: true });
    },
    down: async ({ context: q }) => {
      await q.removeColumn("Purchases", "serial"); await q.renameTable("Purchases", "Orders"); await q.renameColumn("Orders", "quantity", "count");
    } },
  { name: "5-transaction",
    up: ({ context: q }) => q.sequelize.transaction(async (transaction) => {
      await q.createTable("Prices", { product: { type: DataTypes.INTEGER, primaryKey: true }, value: DataTypes.DECIMAL }, { transaction });
      await q.sequelize.query('INSERT INTO "Prices" SELECT id, price FROM "Products"', { transaction });
      await q.removeColumn("Products", "price", { transaction });
      await q.addConstraint("Prices", { fields: ["product"], type: "foreign key", references: { table: "Products", field: "id" }, transaction });
    }),
    down: ({ context: q }) => q.sequelize.transaction(async (transaction) => {
      await q.addColumn("Products", "price", { type: DataTypes.DECIMAL(10, 2) }, { transaction });
      await q.sequelize.query('UPDATE "Products" p SET price = value FROM "Prices" x WHERE x.product = p.id', { transaction });
      await q.dropTable("Prices", { transaction });
    }) },
];

(async () => {
  const umzug = new Umzug({ migrations, context: sequelize.getQueryInterface(), storage: new SequelizeStorage({ sequelize }), logger: undefined });
  for (const [verb, options] of [["up", { to: "3-money" }], ["down", {}], ["up", {}], ["down", { step: 2 }], ["up", {}]]) {
    console.log(verb, (await umzug[verb](options)).map((one) => one.name));
  }
  await sequelize.close();
})().catch((error) => { console.error(error); process.exit(1); });
