// The load of the comparison, from Apache Kafka's own parts, several clients in one JVM:
//   produce CLIENTS ARG...              that many of Kafka's ProducerPerformance, each with these arguments
//   paced BOOTSTRAP TOPIC RECORDS RECORD_BYTES RATE WARM_UP NAME=VALUE...   one KafkaProducer that sends RATE records a second at the times
//                                       that are due, whatever becomes of those before; latencies count from then, without the first
//                                       WARM_UP records
//   consume BOOTSTRAP TOPIC PARTITIONS RECORDS   one KafkaConsumer that assigns itself all partitions and reads from the beginning;
//                                       ConsumerPerformance would join a group, and asks for more than a log
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.tools.ProducerPerformance;

class Load {
    private static final Duration SILENCE_MAX = Duration.ofSeconds(30);

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "produce" -> produce(Integer.parseInt(args[1]), List.of(args).subList(2, args.length).toArray(String[]::new));
            case "paced" -> paced(args);
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

    private static void paced(String[] args) throws Exception {
        int records = Integer.parseInt(args[3]);
        int warmUp = Integer.parseInt(args[6]);
        double nanosBetween = 1e9 / Double.parseDouble(args[5]);
        byte[] value = new byte[Integer.parseInt(args[4])];
        new Random(4711).nextBytes(value);
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[1]);
        for (String setting : List.of(args).subList(7, args.length)) {
            settings.put(setting.substring(0, setting.indexOf('=')), setting.substring(setting.indexOf('=') + 1));
        }
        long[] nanos = new long[records];
        long[] ended = new long[1];
        AtomicReference<Exception> failure = new AtomicReference<>();
        long began;
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.partitionsFor(args[2]);
            began = System.nanoTime();
            for (int i = 0; i < records; i++) {
                long due = began + (long) (i * nanosBetween);
                for (long early = due - System.nanoTime(); early > 0; early = due - System.nanoTime()) {
                    LockSupport.parkNanos(early);
                }
                if (i == warmUp) {
                    System.out.println("measuring");
                }
                int number = i;
                // Answers come on one thread.
                producer.send(new ProducerRecord<>(args[2], value), (sent, exception) -> {
                    long now = System.nanoTime();
                    nanos[number] = now - due;
                    ended[0] = now;
                    if (exception != null) {
                        failure.set(exception);
                    }
                });
            }
            producer.flush();
            System.out.println("measured");
        }
        if (failure.get() != null) {
            throw failure.get();
        }
        long[] counted = Arrays.copyOfRange(nanos, warmUp, records);
        Arrays.sort(counted);
        System.out.printf(Locale.ROOT, "rate=%.1f p50_us=%.1f p99_us=%.1f max_us=%.1f%n", records / ((ended[0] - began) / 1e9),
            counted[counted.length / 2] / 1e3, counted[(int) (counted.length * 0.99)] / 1e3, counted[counted.length - 1] / 1e3);
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
