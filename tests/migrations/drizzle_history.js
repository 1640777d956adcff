// drizzle's migrator over a folder as drizzle-kit writes it: one transaction for all that is new.
const fs = require("fs"), os = require("os"), path = require("path");
const { Pool } = require("pg");
const { drizzle } = require("drizzle-orm/node-postgres");
const { migrate } = require("drizzle-orm/node-postgres/migrator");

const stages = [
  [`CREATE TYPE "public"."role" AS ENUM('admin', 'member');`,
    `CREATE TABLE "teams" ("id" serial PRIMARY KEY NOT NULL, "name" varchar(80) NOT NULL, CONSTRAINT "teams_name_unique" UNIQUE("name"));`,
    `CREATE TABLE "members" ("id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL, "team_id" integer, "role" "role" DEFAULT 'member' NOT NULL, "created_at" timestamp DEFAULT now());`,
    `ALTER TABLE "members" ADD CONSTRAINT "members_team_id_teams_id_fk" FOREIGN KEY ("team_id") REFERENCES "public"."teams"("id") ON DELETE cascade ON UPDATE no action;`,
    `CREATE INDEX "team_idx" ON "members" USING btree ("team_id");`,
    `INSERT INTO "teams" ("name") SELECT 'team ' || n FROM generate_series(1, 30) n;`,
    `INSERT INTO "members" ("team_id") SELECT 1 + n % 30 FROM generate_series(1, 300) n;`],
  [`ALTER TABLE "teams" ADD COLUMN "plan" text DEFAULT 'free' NOT NULL;`, `ALTER TABLE "members" ADD COLUMN "email" text;`,
    `UPDATE "members" SET "email" = id || '@example.org';`, `ALTER TABLE "members" ALTER COLUMN "email" SET NOT NULL;`,
    `ALTER TABLE "members" ALTER COLUMN "created_at" SET DATA TYPE timestamp with time zone;`,
    `CREATE UNIQUE INDEX "email_idx" ON "members" USING btree (lower("email"));`],
  [`CREATE SCHEMA "billing";`, `CREATE TABLE "billing"."accounts" ("team_id" integer PRIMARY KEY NOT NULL, "credit" numeric(12, 2) DEFAULT '0', "history" jsonb[]);`,
    `ALTER TABLE "billing"."accounts" ADD CONSTRAINT "accounts_team_id_teams_id_fk" FOREIGN KEY ("team_id") REFERENCES "public"."teams"("id");`,
    `INSERT INTO "billing"."accounts" ("team_id") SELECT id FROM "teams";`, `ALTER TABLE "teams" RENAME COLUMN "plan" TO "tier";`,
    `CREATE VIEW "public"."rich" AS (select "team_id" from "billing"."accounts" where "credit" > 100);`,
    `ALTER TABLE "members" DROP CONSTRAINT "members_team_id_teams_id_fk";`, `ALTER TABLE "members" DROP COLUMN "created_at";`],
  [`ALTER TABLE "members" ALTER COLUMN "role" SET DATA TYPE text;`, `ALTER TABLE "members" ALTER COLUMN "role" DROP DEFAULT;`, `DROP TYPE "public"."role";`,
    `CREATE TYPE "public"."role" AS ENUM('owner', 'admin', 'member');`,
    `ALTER TABLE "members" ALTER COLUMN "role" SET DATA TYPE "public"."role" USING "role"::"public"."role";`,
    `ALTER TABLE "members" ENABLE ROW LEVEL SECURITY;`, `CREATE POLICY "own" ON "members" AS PERMISSIVE FOR SELECT TO public USING (true);`,
    `ALTER TABLE "members" ADD COLUMN "number" integer GENERATED ALWAYS AS IDENTITY (sequence name "members_number_seq" INCREMENT BY 1 START WITH 1);`,
    `ALTER TABLE "teams" ADD CONSTRAINT "tier_check" CHECK ("teams"."tier" <> '');`],
];

(async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "drizzle-"));
  fs.mkdirSync(path.join(folder, "meta"));
  const entries = [];
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 2 });
  for (const [n, statements] of stages.entries()) {
    fs.writeFileSync(path.join(folder, `000${n}.sql`), statements.join("\n--> statement-breakpoint\n"));
    entries.push({ idx: n, version: "7", when: 1700000000000 + n, tag: `000${n}`, breakpoints: true });
    fs.writeFileSync(path.join(folder, "meta", "_journal.json"), JSON.stringify({ version: "7", dialect: "postgresql", entries }));
    if (n === 1) continue;  // Two at once.
    await migrate(drizzle(pool), { migrationsFolder: folder });
    console.log("migrated", n);
  }
  fs.rmSync(folder, { recursive: true });
  await pool.end();
})().catch((error) => { console.error(error); process.exit(1); });
