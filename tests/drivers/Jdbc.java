// pgjdbc: server-prepared statements, batches, fetch sizes, COPY, LISTEN, savepoints, autosave,
// cancel, binary transfer, DatabaseMetaData. Run as `java -cp postgresql.jar Jdbc.java`.

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.sql.*;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.UUID;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;

public class Jdbc {
  interface Work {
    void run() throws Exception;
  }

  static void say(String label, Object... values) {
    StringBuilder line = new StringBuilder(label);
    for (Object value : values) line.append(" | ").append(value);
    System.out.println(line);
  }

  static void refused(String label, Work work) throws Exception {
    try {
      work.run();
    } catch (SQLException error) {
      for (SQLException e = error; e != null; e = e.getNextException())
        say(label, e.getSQLState(), e.getMessage().replace('\n', ' '));
      return;
    }
    throw new AssertionError(label + ": it did not fail");
  }

  static Connection connect(String... options) throws Exception {
    URI url = new URI(System.getenv("DATABASE_URL"));
    String[] login = url.getUserInfo().split(":");
    Properties properties = new Properties();
    properties.setProperty("user", login[0]);
    properties.setProperty("password", login[1]);
    properties.setProperty("ApplicationName", "jdbc script");
    for (int i = 0; i < options.length; i += 2) properties.setProperty(options[i], options[i + 1]);
    return DriverManager.getConnection(
        "jdbc:postgresql://" + url.getHost() + ":" + url.getPort() + url.getPath(), properties);
  }

  static List<Object> rows(ResultSet result) throws SQLException {
    List<Object> rows = new ArrayList<>();
    int columns = result.getMetaData().getColumnCount();
    while (result.next()) {
      List<Object> row = new ArrayList<>();
      for (int i = 1; i <= columns; i++) {
        Object value = result.getObject(i);
        row.add(value instanceof byte[] bytes ? Arrays.toString(bytes)
            : value instanceof Array array ? Arrays.deepToString((Object[]) array.getArray()) : value);
      }
      rows.add(row);
    }
    return rows;
  }

  static void play(String... options) throws Exception {
    say("options", Arrays.toString(options));
    try (Connection c = connect(options); Statement s = c.createStatement()) {
      DatabaseMetaData meta = c.getMetaData();
      say("server", meta.getDatabaseProductVersion(), meta.getDefaultTransactionIsolation(), meta.getUserName());
      s.execute("DROP TABLE IF EXISTS jdbc_items; CREATE TABLE jdbc_items (id serial PRIMARY KEY, body text UNIQUE, "
          + "tags text[], at timestamptz, n numeric(12, 3), raw bytea, u uuid, j jsonb, big int8, f float8)");
      types(c, Arrays.asList(options).contains("simple"));
      statements(c, s);
      transactions(c, s, options);
      cursors(c);
      copies(c);
      metadata(meta);
      cancels(c, s);
      s.execute("DROP TABLE jdbc_items");
    }
  }

  static void types(Connection c, boolean simple) throws Exception {
    try (PreparedStatement p = c.prepareStatement("INSERT INTO jdbc_items (body, tags, at, n, raw, u, j, big, f) "
        + "VALUES (?, ?, ?, ?, ?, ?, ?::jsonb, ?, ?)", Statement.RETURN_GENERATED_KEYS)) {
      for (int i = 0; i < 12; i++) {  // From the fifth on by a named statement.
        p.setString(1, "bödy " + i);
        p.setArray(2, c.createArrayOf("text", new String[] {"a", null, "b,c\""}));
        p.setTimestamp(3, new Timestamp(0));
        p.setBigDecimal(4, new java.math.BigDecimal("1.500"));
        if (simple) p.setNull(5, Types.BINARY);  // This version writes bytea wrongly into a text.
        else p.setBytes(5, new byte[] {0, -1});
        p.setObject(6, new UUID(0, i));
        p.setString(7, "{\"n\": " + i + "}");
        p.setLong(8, 1L << 40);
        p.setDouble(9, 0.1);
        p.executeUpdate();
        try (ResultSet keys = p.getGeneratedKeys()) {
          say("row", rows(keys));
        }
      }
    }
    char[] wide = new char[4 << 20];
    Arrays.fill(wide, 'ü');
    String large = new String(wide);
    try (PreparedStatement p = c.prepareStatement("SELECT ?::text")) {
      p.setString(1, large);
      ResultSet result = p.executeQuery();
      result.next();
      say("large", result.getString(1).equals(large));
    }
  }

  static void statements(Connection c, Statement s) throws Exception {
    try (PreparedStatement p = c.prepareStatement("SELECT id, body, n, at, big, f, u, raw, tags FROM jdbc_items WHERE id <= ? ORDER BY id")) {
      for (int i = 0; i < 9; i++) {
        p.setInt(1, i % 3);
        say("prepared", rows(p.executeQuery()));
      }
      say("columns", p.getMetaData().getColumnTypeName(3), p.getParameterMetaData().getParameterTypeName(1));
    }
    for (int i = 0; i < 300; i++)  // More texts than its cache holds.
      try (PreparedStatement p = c.prepareStatement("SELECT " + i + " + ?")) {
        for (int k = 0; k < 2; k++) {
          p.setInt(1, k);
          p.executeQuery().close();
        }
      }
    try (PreparedStatement p = c.prepareStatement("INSERT INTO jdbc_items (id, body) VALUES (?, ?)")) {
      for (int i = 1000; i < 2500; i++) {
        p.setInt(1, i);
        p.setString(2, "batch " + i);
        p.addBatch();
      }
      say("batch", p.executeBatch().length);
      for (int i : new int[] {5000, 5001, 1000, 5002}) {
        p.setInt(1, i);
        p.setString(2, "wrong " + i);
        p.addBatch();
      }
      refused("wrong batch", p::executeBatch);
    }
    say("none or all", rows(s.executeQuery("SELECT count(*) FROM jdbc_items WHERE id >= 5000")));
    boolean more = s.execute("SELECT 1; UPDATE jdbc_items SET f = 1 WHERE id < 4; SELECT 2");
    for (; more || s.getUpdateCount() != -1; more = s.getMoreResults())
      say("several", more ? rows(s.getResultSet()) : s.getUpdateCount());
    // A table that changes shape under a server-prepared statement.
    s.execute("CREATE TABLE jdbc_shape (a int)");
    try (PreparedStatement p = c.prepareStatement("SELECT * FROM jdbc_shape")) {
      for (int i = 0; i < 7; i++) p.executeQuery().close();
      s.execute("ALTER TABLE jdbc_shape ADD b int");
      say("shape", p.executeQuery().getMetaData().getColumnCount());
    }
    s.execute("DROP TABLE jdbc_shape");
    s.execute("DO $$ BEGIN RAISE NOTICE 'a notice'; END $$");
    say("warning", s.getWarnings().getMessage());
    s.execute("DISCARD ALL");
    s.execute("DEALLOCATE ALL");
  }

  static void transactions(Connection c, Statement s, String... options) throws Exception {
    c.setAutoCommit(false);
    s.executeUpdate("DELETE FROM jdbc_items WHERE id = 1");
    Savepoint savepoint = c.setSavepoint("a savepoint");
    refused("unique", () -> s.executeUpdate("INSERT INTO jdbc_items (id) VALUES (2)"));
    c.rollback(savepoint);
    say("after savepoint", rows(s.executeQuery("SELECT count(*) FROM jdbc_items")));
    c.rollback();
    refused("division", () -> s.executeQuery("SELECT 1/0"));
    if (!Arrays.asList(options).contains("always")) refused("aborted", () -> s.executeQuery("SELECT 1"));
    else say("saved", rows(s.executeQuery("SELECT 1")));
    c.rollback();
    c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
    c.setReadOnly(true);
    refused("read only", () -> s.executeUpdate("DELETE FROM jdbc_items"));
    c.rollback();
    c.setReadOnly(false);
    c.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
    c.setAutoCommit(true);
    say("schema", c.getSchema(), c.getCatalog(), c.isValid(5));
  }

  static void cursors(Connection c) throws Exception {
    c.setAutoCommit(false);
    try (Statement s = c.createStatement(); Statement other = c.createStatement()) {
      s.setFetchSize(7);
      long sum = 0;
      ResultSet result = s.executeQuery("SELECT n FROM generate_series(1, 300) n");
      for (int i = 0; result.next(); i++) {
        sum += result.getInt(1);
        if (i % 50 == 0) say("between", rows(other.executeQuery("SELECT " + i)));
      }
      say("fetched", sum);
      s.executeQuery("SELECT n FROM generate_series(1, 100000) n").next();  // Left with its portal open.
    }
    c.commit();
    c.setAutoCommit(true);
    try (Statement s = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
      ResultSet result = s.executeQuery("SELECT id, body FROM jdbc_items WHERE id < 5 ORDER BY id");
      result.absolute(2);
      result.updateString(2, "updated in place");
      result.updateRow();
      say("updated", result.getString(2));
    }
  }

  static void copies(Connection c) throws Exception {
    CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
    StringBuilder data = new StringBuilder();
    for (int i = 10_000; i < 13_000; i++) data.append(i).append("\tcopied ").append(i).append('\n');
    say("copy in", copy.copyIn("COPY jdbc_items (id, body) FROM STDIN",
        new ByteArrayInputStream(data.toString().getBytes(StandardCharsets.UTF_8))));
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    say("copy out", copy.copyOut("COPY (SELECT id FROM jdbc_items ORDER BY id) TO STDOUT", out), out.size());
    refused("copy twice", () -> copy.copyIn("COPY jdbc_items (id, body) FROM STDIN",
        new ByteArrayInputStream(data.toString().getBytes(StandardCharsets.UTF_8))));
    var given = copy.copyIn("COPY jdbc_items (id) FROM STDIN");
    given.writeToCopy("99999\n".getBytes(StandardCharsets.UTF_8), 0, 6);
    given.cancelCopy();
    try (Statement s = c.createStatement()) {
      say("rows", rows(s.executeQuery("SELECT count(*) FROM jdbc_items")));
    }
  }

  static void metadata(DatabaseMetaData meta) throws Exception {
    say("columns", rows(meta.getColumns(null, "public", "jdbc_items", "%")));
    say("keys", rows(meta.getPrimaryKeys(null, "public", "jdbc_items")));
    say("indexes", rows(meta.getIndexInfo(null, "public", "jdbc_items", false, true)));
    say("types", rows(meta.getTypeInfo()).size(), rows(meta.getSchemas()).size());
  }

  static void cancels(Connection c, Statement s) throws Exception {
    try (Connection other = connect(); PreparedStatement running = other.prepareStatement(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE ? AND pid <> pg_backend_pid()")) {
      running.setString(1, "SELECT pg_sleep(50)%");
      Thread thread = new Thread(() -> {
        try {
          ResultSet result;
          do {
            result = running.executeQuery();
            result.next();
          } while (result.getInt(1) != 1);
          s.cancel();
        } catch (SQLException error) {
          say("cancel", error.getMessage());
        }
      });
      thread.start();
      refused("cancelled", () -> s.executeQuery("SELECT pg_sleep(50)"));
      thread.join();
      s.setQueryTimeout(1);
      refused("timeout", () -> s.executeQuery("SELECT pg_sleep(49)"));
      s.setQueryTimeout(0);
      s.execute("LISTEN jdbc_news");
      other.createStatement().execute("NOTIFY jdbc_news, 'one'; NOTIFY jdbc_news, 'two'");
      PGConnection listener = c.unwrap(PGConnection.class);
      List<String> heard = new ArrayList<>();
      for (int i = 0; i < 40 && heard.size() < 2; i++) {
        PGNotification[] some = listener.getNotifications(500);
        if (some != null) for (PGNotification n : some) heard.add(n.getName() + " " + n.getParameter());
      }
      say("heard", heard);
      s.execute("UNLISTEN *");
    }
  }

  public static void main(String[] arguments) throws Exception {
    play();
    play("preferQueryMode", "simple");
    play("autosave", "always", "prepareThreshold", "1", "binaryTransfer", "true", "reWriteBatchedInserts", "true",
        "defaultRowFetchSize", "10");
    say("well");
  }
}
