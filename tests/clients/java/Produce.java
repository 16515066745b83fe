import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/**
 * A stock producer that is told nothing about name servers but by the system properties
 * rocketmq.namesrv.domain and rocketmq.namesrv.domain.subgroup.
 *
 * java -cp 'jars/*' -Drocketmq.namesrv.domain=HOST:PORT Produce.java TOPIC PREFIX SECONDS PAUSE_MS [UNIT]
 *
 * One line per event: "MILLISECONDS EVENT TEXT", milliseconds since the epoch. Events: started; names (its list of
 * name servers, whenever it changed); sent (a message was acknowledged: its name, status and broker); failed (a message
 * was not: its name and why); ended. It ends by itself after SECONDS.
 */
public class Produce {
    /** Sends are not repeated by the client: what fails is counted. */
    private static final int TRIES_AGAIN = 0;

    public static void main(String[] arguments) throws Exception {
        String topic = arguments[0];
        String prefix = arguments[1];
        long end = System.currentTimeMillis() + Long.parseLong(arguments[2]) * 1000;
        long pause = Long.parseLong(arguments[3]);
        DefaultMQProducer producer = new DefaultMQProducer("producers-" + prefix);
        producer.setRetryTimesWhenSendFailed(TRIES_AGAIN);
        if (arguments.length > 4) {
            producer.setUnitName(arguments[4]);
        }
        producer.start();
        tell("started", prefix);
        List<String> known = null;
        for (long number = 0; System.currentTimeMillis() < end; number++) {
            List<String> names = producer.getDefaultMQProducerImpl().getmQClientFactory()
                .getMQClientAPIImpl().getNameServerAddressList();
            if (names != null && !names.equals(known)) {
                known = List.copyOf(names);
                tell("names", String.join(";", known.stream().sorted().toList()));
            }
            String body = prefix + "-" + number;
            try {
                SendResult result = producer.send(new Message(topic, body.getBytes(StandardCharsets.UTF_8)));
                tell("sent", body + " " + result.getSendStatus() + " " + result.getMessageQueue().getBrokerName());
            } catch (Exception failure) {
                Throwable cause = failure.getCause() == null ? failure : failure.getCause();
                tell("failed", body + " " + cause.getClass().getSimpleName() + ": " + cause.getMessage());
            }
            Thread.sleep(pause);
        }
        tell("ended", prefix);
        // Not shut down first: 5.x takes seconds for that, and nothing is left to be sent.
        Runtime.getRuntime().halt(0);
    }

    private static void tell(String event, String text) {
        String line = text.lines().findFirst().orElse("");
        System.out.println(System.currentTimeMillis() + " " + event + " " + line);
        System.out.flush();
    }
}
