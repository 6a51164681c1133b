// Reads lines "MESSAGE VERSION HEX", has Apache Kafka's own class of that message read and write the bytes, and prints
// where it writes others. The last line says how many were the same.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

public class Oracle {
    private static final String[] PACKAGES = {
        "org.apache.kafka.common.message.",
        "org.apache.kafka.coordinator.group.generated.",
        "org.apache.kafka.coordinator.transaction.generated.",
        "org.apache.kafka.server.log.remote.metadata.storage.generated.",
    };

    public static void main(String[] args) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        int same = 0;
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ", -1);
            try {
                String written = rewrite(words[0], Short.parseShort(words[1]), HexFormat.of().parseHex(words[2]));
                if (written.equals(words[2])) {
                    same++;
                } else {
                    System.out.println(line + " is written as " + written);
                }
            } catch (Exception error) {
                System.out.println(line + " fails: " + error);
            }
        }
        System.out.println("same " + same);
    }

    private static String rewrite(String name, short version, byte[] bytes) throws Exception {
        ApiMessage message = (ApiMessage) find(name).getDeclaredConstructor().newInstance();
        ByteBufferAccessor input = new ByteBufferAccessor(ByteBuffer.wrap(bytes));
        message.read(input, version);
        if (input.remaining() > 0) {
            throw new Exception(input.remaining() + " bytes are left");
        }
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer output = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(output), cache, version);
        return HexFormat.of().formatHex(output.array(), 0, output.position());
    }

    private static Class<?> find(String name) throws ClassNotFoundException {
        for (String prefix : PACKAGES) {
            for (String suffix : new String[] {"Data", ""}) {
                try {
                    return Class.forName(prefix + name + suffix);
                } catch (ClassNotFoundException error) {
                    // The next one may be it.
                }
            }
        }
        throw new ClassNotFoundException(name);
    }
}
