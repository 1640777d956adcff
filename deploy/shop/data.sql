-- Some history, so that the load has something to do.
INSERT INTO categories (parent_id, name) VALUES (NULL, 'all');
INSERT INTO categories (parent_id, name) SELECT 1 + n / 7, 'category ' || n FROM generate_series(1, 40) n;
INSERT INTO customers (email, name, tags, profile, created_at)
  SELECT 'Customer' || n || '@example.org', 'Customer ' || n,
         CASE n % 3 WHEN 0 THEN '{}' WHEN 1 THEN ARRAY['new', NULL] ELSE ARRAY['vip', 'a "b", c'] END,
         jsonb_build_object('visits', n % 50, 'note', CASE WHEN n % 5 = 0 THEN NULL ELSE 'ü' END),
         timestamptz '2023-01-01' + n * interval '40 minutes'
    FROM generate_series(1, 20000) n;
INSERT INTO addresses (customer_id, street, city)
  SELECT id, 'Street ' || id, E'City\twith\\odd\nletters' FROM customers;
INSERT INTO products (sku, category_id, price, stock, sizes, picture)
  SELECT 'SKU-' || n, 1 + n % 40, (n % 9000) / 100.0 + 1, 1000000, ARRAY[n, n + 1],
         decode(md5(n::text), 'hex')
    FROM generate_series(1, 500) n;
INSERT INTO orders (customer_id, state, placed_at)
  SELECT id, (ARRAY['placed', 'paid', 'shipped', 'returned']::order_state[])[1 + (id + k) % 4],
         timestamptz '2024-01-01' + id * interval '30 minutes'
    FROM customers, generate_series(1, 2) k;
WITH numbered AS (SELECT id, price, row_number() OVER (ORDER BY sku) - 1 AS n FROM products)
INSERT INTO order_items
  SELECT o.id, l, p.id, 1 + l, p.price
    FROM orders o, generate_series(1, 2) l, numbered p WHERE p.n = (o.id + l * 7) % 500;
INSERT INTO events (at, kind, payload)
  SELECT timestamptz '2023-06-01' + n * interval '25 minutes', 'visit', jsonb_build_object('n', n)
    FROM generate_series(1, 60000) n;
INSERT INTO jobs (task) SELECT 'task ' || n FROM generate_series(1, 500) n;
INSERT INTO audit.log (what) SELECT 'import ' || n % 1000 FROM generate_series(1, 5000) n;
INSERT INTO audit.log VALUES ('-infinity', 'nobody', NULL), ('-infinity', 'nobody', NULL);
REFRESH MATERIALIZED VIEW sales_by_day;
ANALYZE;
