import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * A stock push consumer that is told nothing about name servers but by the system properties
 * rocketmq.namesrv.domain and rocketmq.namesrv.domain.subgroup.
 *
 * java -cp 'jars/*' -Drocketmq.namesrv.domain=HOST:PORT Consume.java TOPIC GROUP SECONDS [UNIT]
 *
 * Lines as Produce prints them. Events: started; names; received (a message and its broker); ended. It ends by itself after SECONDS.
 */
public class Consume {
    /** How often its list of name servers is looked at, milliseconds. */
    private static final long LOOK_AGAIN = 100;

    public static void main(String[] arguments) throws Exception {
        String topic = arguments[0];
        String group = arguments[1];
        long end = System.currentTimeMillis() + Long.parseLong(arguments[2]) * 1000;
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        if (arguments.length > 3) {
            consumer.setUnitName(arguments[3]);
        }
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                String body = new String(message.getBody(), StandardCharsets.UTF_8);
                tell("received", body + " " + message.getBrokerName());
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        tell("started", group);
        List<String> known = null;
        while (System.currentTimeMillis() < end) {
            List<String> names = consumer.getDefaultMQPushConsumerImpl().getmQClientFactory()
                .getMQClientAPIImpl().getNameServerAddressList();
            if (names != null && !names.equals(known)) {
                known = List.copyOf(names);
                tell("names", String.join(";", known.stream().sorted().toList()));
            }
            Thread.sleep(LOOK_AGAIN);
        }
        tell("ended", group);
        Runtime.getRuntime().halt(0);
    }

    private static synchronized void tell(String event, String text) {
        String line = text.lines().findFirst().orElse("");
        System.out.println(System.currentTimeMillis() + " " + event + " " + line);
        System.out.flush();
    }
}
