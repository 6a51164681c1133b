// The load of the comparison, from Apache Kafka's own parts, several clients in one JVM:
//   produce CLIENTS ARG...              that many of Kafka's ProducerPerformance, each with these arguments
//   consume BOOTSTRAP TOPIC PARTITIONS RECORDS   one KafkaConsumer that assigns itself all partitions and reads from the beginning;
//                                       ConsumerPerformance would join a group, and asks for more than a log
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.tools.ProducerPerformance;

class Load {
    private static final Duration SILENCE_MAX = Duration.ofSeconds(30);

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "produce" -> produce(Integer.parseInt(args[1]), List.of(args).subList(2, args.length).toArray(String[]::new));
            case "consume" -> consume(args[1], args[2], Integer.parseInt(args[3]), Long.parseLong(args[4]));
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    private static void produce(int clients, String[] args) throws Exception {
        AtomicReference<Exception> failure = new AtomicReference<>();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < clients; i++) {
            threads.add(new Thread(() -> {
                try {
                    ProducerPerformance.main(args);
                } catch (Exception e) {
                    failure.set(e);
                }
            }));
        }
        threads.forEach(Thread::start);
        for (Thread thread : threads) {
            thread.join();
        }
        if (failure.get() != null) {
            throw failure.get();
        }
    }

    private static void consume(String bootstrap, String topic, int partitions, long records) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("auto.offset.reset", "earliest");
        // What ConsumerPerformance sets.
        settings.put("receive.buffer.bytes", 2 * 1024 * 1024);
        settings.put("max.partition.fetch.bytes", 1024 * 1024);
        settings.put("check.crcs", "false");
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> all = new ArrayList<>();
            for (int partition = 0; partition < partitions; partition++) {
                all.add(new TopicPartition(topic, partition));
            }
            consumer.assign(all);
            consumer.seekToBeginning(all);
            long read = 0;
            long bytes = 0;
            long began = 0;
            long heard = System.nanoTime();
            while (read < records) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    // The clock starts with the first record: finding the partitions is not what is measured.
                    if (read == 0) {
                        began = System.nanoTime();
                    }
                    read++;
                    bytes += record.serializedValueSize();
                    heard = 0;
                }
                if (heard == 0) {
                    heard = System.nanoTime();
                } else if (System.nanoTime() - heard > SILENCE_MAX.toNanos()) {
                    throw new IllegalStateException("silence after " + read + " of " + records + " records");
                }
            }
            double seconds = (System.nanoTime() - began) / 1e9;
            System.out.printf("consumed %d records, %d bytes, %.3f s%n", read, bytes, seconds);
        }
    }
}
