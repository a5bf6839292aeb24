package bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;
import org.apache.kafka.streams.state.WindowStore;

/** The jobs of the bench in Kafka Streams: raw (parse) and windowed (count and sum by key, 10 s). */
public final class Windows {
  private static final JsonFactory JSON = new JsonFactory();
  private static final LongAdder EVENTS = new LongAdder();
  private static volatile long readyAt;
  private static boolean failed;

  /** The value of one record: what a window sums. */
  private static long parse(byte[] value, String field) {
    try (JsonParser parser = JSON.createParser(value)) {
      long found = 0;
      while (parser.nextToken() != null) {
        if (parser.currentToken() == JsonToken.FIELD_NAME && field.equals(parser.currentName())) {
          parser.nextToken();
          found = parser.getLongValue();
        }
      }
      return found;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static Serde<long[]> totals() {
    return Serdes.serdeFrom(
        (topic, pair) ->
            pair == null ? null : ByteBuffer.allocate(16).putLong(pair[0]).putLong(pair[1]).array(),
        (topic, bytes) -> {
          if (bytes == null) {
            return null;
          }
          ByteBuffer buffer = ByteBuffer.wrap(bytes);
          return new long[] {buffer.getLong(), buffer.getLong()};
        });
  }

  /** Whether a cache gathers a key's changes between commits; it pays where keys come again soon. */
  private static boolean cached() {
    return !"0".equals(System.getenv("BENCH_CACHE"));
  }

  private static StreamsBuilder topology(boolean windowed, String topic, String field) {
    StreamsBuilder builder = new StreamsBuilder();
    KStream<byte[], Long> values =
        builder
            .stream(topic, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
            .mapValues(
                value -> {
                  EVENTS.increment();
                  return parse(value, field);
                });
    if (!windowed) {
      values.foreach((key, value) -> {});
      return builder;
    }
    Duration size = Duration.ofSeconds(10);
    Materialized<byte[], long[], WindowStore<Bytes, byte[]>> store =
        Materialized.<byte[], long[], WindowStore<Bytes, byte[]>>as("windows")
            .withStoreType(BuiltInDslStoreSuppliers.IN_MEMORY)
            .withKeySerde(Serdes.ByteArray())
            .withValueSerde(totals())
            .withRetention(Duration.ofSeconds(30));
    values
        .groupByKey(Grouped.with(Serdes.ByteArray(), Serdes.Long()))
        .windowedBy(TimeWindows.ofSizeAndGrace(size, size))
        .aggregate(
            () -> new long[2],
            (key, value, pair) -> new long[] {pair[0] + 1, pair[1] + value},
            cached() ? store.withCachingEnabled() : store.withCachingDisabled());
    return builder;
  }

  private static Properties settings(String guarantee) {
    Properties p = new Properties();
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, System.getenv("BENCH_GROUP"));
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("BENCH_BOOTSTRAP"));
    p.put(StreamsConfig.STATE_DIR_CONFIG, System.getenv("BENCH_FOLDER"));
    p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
    p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
    p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 500);
    p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 128L << 20);
    p.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5000);
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 6000);
    p.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
    p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 128 << 10);
    p.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 20);
    return p;
  }

  /** Says how far it is, in the form that every worker of the bench does. */
  private static void report(Path status) {
    try {
      while (true) {
        String line = String.format("%020d %020d%n", readyAt, EVENTS.sum());
        Files.write(status, line.getBytes(StandardCharsets.US_ASCII));
        Thread.sleep(50);
      }
    } catch (IOException | InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  public static void main(String[] args) throws InterruptedException {
    boolean windowed = "windowed".equals(System.getenv("BENCH_JOB"));
    String field = "plays".equals(System.getenv("BENCH_PAYLOAD")) ? "ms_played" : "value";
    StreamsBuilder builder = topology(windowed, System.getenv("BENCH_TOPIC"), field);
    KafkaStreams streams = new KafkaStreams(builder.build(), settings(args[0]));
    CountDownLatch done = new CountDownLatch(1);
    streams.setStateListener(
        (now, before) -> {
          if (now == KafkaStreams.State.RUNNING && readyAt == 0) {
            readyAt = System.currentTimeMillis();
          } else if (now == KafkaStreams.State.ERROR) {
            failed = true;
            done.countDown();
          }
        });
    Thread reporter = new Thread(() -> report(Path.of(System.getenv("BENCH_STATUS"))));
    reporter.setDaemon(true);
    reporter.start();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(60))));
    streams.start();
    done.await();
    System.exit(failed ? 1 : 0);
  }
}
