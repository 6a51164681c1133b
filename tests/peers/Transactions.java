import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Two transactional producers and a plain one write to partition 0 of a topic, in turns: "committed-N", "aborted-N" and "plain-N". At the end
 * one more transaction stays open, with "open-0". Run by Java's launcher for source files, with Kafka's jars as the class path.
 */
public final class Transactions {
    private static final int ROUNDS = 5;

    private static KafkaProducer<String, String> producer(String bootstrap, String id) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("linger.ms", "0");
        if (id != null) {
            settings.put("transactional.id", id);
        }
        KafkaProducer<String, String> producer =
            new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        if (id != null) {
            producer.initTransactions();
        }
        return producer;
    }

    private static void write(KafkaProducer<String, String> producer, String topic, String value) throws Exception {
        producer.send(new ProducerRecord<>(topic, 0, null, value)).get();
    }

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0];
        String topic = arguments[1];
        KafkaProducer<String, String> commits = producer(bootstrap, topic + "-commits");
        KafkaProducer<String, String> aborts = producer(bootstrap, topic + "-aborts");
        KafkaProducer<String, String> plain = producer(bootstrap, null);
        for (int round = 0; round < ROUNDS; round++) {
            commits.beginTransaction();
            aborts.beginTransaction();
            write(aborts, topic, "aborted-" + 2 * round);
            write(commits, topic, "committed-" + 2 * round);
            write(plain, topic, "plain-" + round);
            write(aborts, topic, "aborted-" + (2 * round + 1));
            // Each ends while the other is open, in turns.
            if (round % 2 == 0) {
                aborts.abortTransaction();
                write(commits, topic, "committed-" + (2 * round + 1));
                commits.commitTransaction();
            } else {
                write(commits, topic, "committed-" + (2 * round + 1));
                commits.commitTransaction();
                aborts.abortTransaction();
            }
        }
        commits.beginTransaction();
        write(commits, topic, "open-0");
        // Nothing is closed: that would abort it.
        Runtime.getRuntime().halt(0);
    }
}
